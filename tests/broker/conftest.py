"""Brokers to test against: the one in memory, a stock Mosquitto that can be killed and frozen, and amqtt."""

import contextlib
import pathlib
import queue
import random
import socket
import tempfile
import threading

import ports
import pytest
import waiting
from stock_mosquitto import Mosquitto

from broker.links import relay
from broker.links.shaping import Shape
from broker.local import server
from broker.mqtt import paho_check
from broker.mqtt import transport as mqtt_transport
from broker.mqtt.connection import Connection, Version
from broker.several.transport import Several
from broker.transport.address import Address
from broker.transport.backoff import Backoff
from broker.transport.memory import MemoryBroker, MemoryTransport

SOON_S = waiting.WAIT_S  # a bound for what happens at once, on a machine that has other things to do

QUICKLY = Backoff(first_s=0.02, most_s=0.2, stable_s=0.0)


@pytest.fixture
def mosquitto_with(tmp_path):
    """Starts a Mosquitto with some lines of configuration."""
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")

    started = []

    def start(*lines):
        started.append(Mosquitto(tmp_path, lines))
        return started[-1]

    yield start
    for broker in started:
        broker.end()


@pytest.fixture
def mosquitto(mosquitto_with):
    """A stock Mosquitto: Nagle's algorithm on, no limits set."""
    return mosquitto_with()


@pytest.fixture
def join(request):
    """Connects MQTT clients that are closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def connect(address, client_id, *, is_connected=True, **options):
            options = {"backoff": QUICKLY, "randomness": random.Random(1), **options}
            transport = mqtt_transport.MqttTransport(address, client_id=client_id, **options)
            stack.callback(transport.close, timeout_s=0)
            if is_connected:
                transport.connect(timeout_s=SOON_S)
            return transport

        yield connect


class Hub:
    """One kind of broker under the contract: `join` connects a client, `interrupt` breaks all connections.

    `forgets_the_gone` marks one that drops what it has acknowledged when its publisher leaves, as amqtt does on
    Python 3.12 and later.
    """

    def __init__(self, join, interrupt, *, forgets_the_gone=False):
        self.join = join
        self.interrupt = interrupt
        self.forgets_the_gone = forgets_the_gone


def memory_hub(request):
    broker = MemoryBroker()

    def make(client_id, **options):
        transport = MemoryTransport(broker, client_id=client_id, **options)
        request.addfinalizer(lambda: transport.close(timeout_s=0))
        transport.connect()
        return transport

    def interrupt():
        broker.stop()
        broker.start()

    return Hub(make, interrupt)


def several_hub(request):
    """Everybody is at all of three brokers; each topic is at one of them."""
    brokers = {name: MemoryBroker() for name in ("a:1883", "b:1883", "c:1883")}

    def make(client_id, **options):
        members = {name: MemoryTransport(each, client_id=client_id, **options) for name, each in brokers.items()}
        several = Several(members)
        request.addfinalizer(lambda: several.close(timeout_s=0))
        several.connect()
        return several

    def interrupt():
        for each in brokers.values():
            each.stop()
            each.start()

    return Hub(make, interrupt)


def several_mosquitto_hub(request):
    started, join = request.getfixturevalue("mosquitto_with"), request.getfixturevalue("join")
    brokers = [started() for _ in range(3)]

    def make(client_id, **options):
        members = [join(each.address, client_id, is_connected=False, **options) for each in brokers]
        several = Several({str(each.address): member for each, member in zip(brokers, members, strict=True)})
        several.connect(timeout_s=SOON_S)
        return several

    def interrupt():
        for each in brokers:
            each.kill()
        for each in brokers:
            each.start()

    return Hub(make, interrupt)


@pytest.fixture
def plain_paho(monkeypatch):
    """Connections by paho's documented interface alone, as with a paho that differs from the one we know."""
    monkeypatch.setattr(paho_check, "connection_type", lambda version: Connection)


def mosquitto_hub(request, version, *, is_plain=False):
    if is_plain:
        request.getfixturevalue("plain_paho")
    broker = request.getfixturevalue("mosquitto")
    join = request.getfixturevalue("join")

    def interrupt():
        broker.kill()
        broker.start()

    def make(client_id, **options):
        return join(broker.address, client_id, version=version, **options)

    return Hub(make, interrupt)


def amqtt_hub(request):
    if "amqtt" not in server.available():
        pytest.skip("amqtt is not installed; the extra demo brings it")
    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)
    broker = stack.enter_context(server.run(port=0, kind="amqtt"))
    join = request.getfixturevalue("join")

    def make(client_id, **options):
        return join(broker.address, client_id, version=Version.MQTT_311, **options)

    return Hub(make, None, forgets_the_gone=True)


def zenoh_hub(request, *, kind="zenoh"):
    """Members that all know each other's addresses; between any two is a relay that can be interrupted."""
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed; the extra zenoh brings it")
    from broker.zenoh.address import Meeting
    from broker.zenoh.transport import ZenohTransport

    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="box")))  # its path is short
    relays = []

    def make(client_id, **options):
        if kind == "box":
            meeting = Meeting(folder=folder)
        else:
            own = Address("127.0.0.1", ports.free_port())
            meeting = Meeting(at=tuple(each.address for each in relays), listens=(own,))
        transport = ZenohTransport(meeting, deployment="plant", name=client_id, backoff=QUICKLY, **options)
        stack.callback(transport.close, timeout_s=0)
        transport.connect(timeout_s=SOON_S)
        if kind != "box":
            relays.append(stack.enter_context(relay.Relay(own, up=Shape(), down=Shape())))
        return transport

    def interrupt():
        for each in relays:
            each.interrupt()

    return Hub(make, None if kind == "box" else interrupt)


HUBS = {
    "memory": memory_hub,
    "mosquitto-5": lambda request: mosquitto_hub(request, Version.MQTT_5),
    "mosquitto-3.1.1": lambda request: mosquitto_hub(request, Version.MQTT_311),
    "mosquitto-5-plain": lambda request: mosquitto_hub(request, Version.MQTT_5, is_plain=True),
    "mosquitto-3.1.1-plain": lambda request: mosquitto_hub(request, Version.MQTT_311, is_plain=True),
    "amqtt": amqtt_hub,
    "zenoh": zenoh_hub,
    "several": several_hub,
    "several-mosquitto": several_mosquitto_hub,
    "box": lambda request: zenoh_hub(request, kind="box"),
}


# Three brokers for each test take their time.
LONG = {"several-mosquitto": pytest.mark.sweep}


@pytest.fixture(params=[pytest.param(kind, marks=LONG.get(kind, ())) for kind in HUBS])
def hub(request):
    return HUBS[request.param](request)


class ScriptedBroker:
    """Accepts one connection at a time, answers each CONNECT with the next of `connacks`, and notes what it is sent.

    PUBLISHes are acknowledged only by `acknowledge`, and the ids of its own that it sees acknowledged are in
    `acknowledged`; a CONNACK of None is never sent, one of b"" hangs up.
    """

    def __init__(self, *connacks):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self.packets = queue.Queue()
        self.acknowledged = queue.Queue()
        self._connacks = list(connacks)
        self._peer = None
        self._thread = threading.Thread(target=self._serve, name="scripted-broker", daemon=True)
        self._thread.start()

    def acknowledge(self, mid):
        self._peer.sendall(bytes([0x40, 2]) + mid.to_bytes(2, "big"))

    def publish(self, topic, payload, mid):
        """To the client, as a broker of MQTT 5 does it at QoS 1."""
        body = len(topic).to_bytes(2, "big") + topic.encode() + mid.to_bytes(2, "big") + b"\0" + payload
        self._peer.sendall(bytes([0x32, len(body)]) + body)

    def next_publish(self, timeout_s=SOON_S):
        """The packet id of the next QoS 1 PUBLISH, or None."""
        with contextlib.suppress(queue.Empty):
            body = self.packets.get(timeout=timeout_s)
            topic_bytes = int.from_bytes(body[:2], "big")
            return int.from_bytes(body[2 + topic_bytes : 4 + topic_bytes], "big")

    def hang_up(self):
        self._peer.shutdown(socket.SHUT_RDWR)

    def end(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._peer is not None:
            with contextlib.suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listener.accept()
                with peer:
                    self._peer = peer
                    self._talk(peer.makefile("rb"))

    def _talk(self, stream):
        with contextlib.suppress(OSError), stream:
            while True:
                head = stream.read(1)
                if not head:
                    return
                body = stream.read(self._length(stream))
                if head[0] >> 4 == 1:
                    connack = self._connacks.pop(0) if self._connacks else b""
                    if connack == b"":
                        return
                    self._peer.sendall(connack or b"")
                elif head[0] >> 4 == 3:
                    self.packets.put(body)
                elif head[0] >> 4 == 4:
                    self.acknowledged.put(int.from_bytes(body[:2], "big"))

    @staticmethod
    def _length(stream):
        length = shift = 0
        while True:
            byte = stream.read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return length


@pytest.fixture
def scripted():
    started = []

    def start(*connacks):
        started.append(ScriptedBroker(*connacks))
        return started[-1]

    yield start
    for broker in started:
        broker.end()
