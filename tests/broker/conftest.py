"""Brokers to test against: the one in memory, a stock Mosquitto that can be killed and frozen, and amqtt."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading

import pytest

from broker import embedded, mqtt
from broker.address import Address
from broker.connection import Version
from broker.memory import MemoryBroker, MemoryTransport

SOON_S = 20.0  # a bound for what happens at once, on a machine that has other things to do

QUICKLY = mqtt.Backoff(first_s=0.02, most_s=0.2, stable_s=0.0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    with contextlib.suppress(OSError), socket.create_connection((address.host, address.port), 1.0) as probe:
        probe.sendall(bytes.fromhex("100c00044d5154540402003c0000"))
        return probe.recv(1) == b"\x20"
    return False


class Mosquitto:
    """A Mosquitto with the configuration it is installed with, plus `lines`."""

    def __init__(self, folder, lines=()):
        self.address = Address("127.0.0.1", free_port())
        self._config = folder / f"{self.address.port}.conf"
        self._config.write_text(f"listener {self.address.port} 127.0.0.1\nallow_anonymous true\n" + "\n".join(lines))
        self._process = None
        self.start()

    def start(self):
        command = [embedded.mosquitto_path(), "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        pause = threading.Event()
        while not answers(self.address):
            assert self._process.poll() is None, "mosquitto ended at once"
            pause.wait(0.01)

    def kill(self):
        self._process.kill()
        self._process.wait()

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def end(self):
        self.kill()


@pytest.fixture
def mosquitto_with(tmp_path):
    """Starts a Mosquitto with some lines of configuration."""
    if embedded.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    tmp_path.chmod(0o755)  # it gives up root before it reads further files
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
            transport = mqtt.MqttTransport(address, client_id=client_id, **options)
            stack.callback(transport.close, timeout_s=0)
            if is_connected:
                transport.connect(timeout_s=SOON_S)
            return transport

        yield connect


class Hub:
    """One kind of broker under the contract: `join` connects a client, `interrupt` breaks all connections."""

    def __init__(self, join, interrupt, *, has_flow_control):
        self.join = join
        self.has_flow_control = has_flow_control
        self.interrupt = interrupt


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

    return Hub(make, interrupt, has_flow_control=True)


def mosquitto_hub(request, version):
    broker = request.getfixturevalue("mosquitto")
    join = request.getfixturevalue("join")

    def interrupt():
        broker.kill()
        broker.start()

    def make(client_id, **options):
        return join(broker.address, client_id, version=version, **options)

    return Hub(make, interrupt, has_flow_control=version is Version.MQTT_5)


def amqtt_hub(request):
    if "amqtt" not in embedded.available():
        pytest.skip("amqtt is not installed: pip install 'tflsplit[demo]'")
    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)
    broker = stack.enter_context(embedded.run(port=0, kind="amqtt"))
    join = request.getfixturevalue("join")

    def make(client_id, **options):
        return join(broker.address, client_id, version=Version.MQTT_311, **options)

    return Hub(make, None, has_flow_control=False)


HUBS = {
    "memory": memory_hub,
    "mosquitto-5": lambda request: mosquitto_hub(request, Version.MQTT_5),
    "mosquitto-3.1.1": lambda request: mosquitto_hub(request, Version.MQTT_311),
    "amqtt": amqtt_hub,
}


@pytest.fixture(params=HUBS)
def hub(request):
    return HUBS[request.param](request)
