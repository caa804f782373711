"""What goes over the wire, byte by byte: a socket stands for the broker, a connection reads and writes.

The fast connection and the plain one are held to the same."""

import contextlib
import os
import socket
import time

import pytest
import waiting

from broker.mqtt import connection as connections
from broker.mqtt.connection import Connection, Version
from broker.mqtt.events import Accepted, Acknowledged, Event, Subscribed
from broker.mqtt.fast_connection import FastConnection
from broker.transport import network
from broker.transport.address import Address
from broker.transport.bounded_queues import Outgoing
from broker.transport.protocol import Message
from broker.transport.state import Lost

PATIENCE_S = waiting.WAIT_S
CONNACK = {Version.MQTT_5: b"\x20\x03\0\0\0", Version.MQTT_311: b"\x20\x02\0\0"}


class Peer:
    """A connection of ours and its other end."""

    def __init__(self, ours: Connection, theirs: socket.socket, waker: socket.socket) -> None:
        self.ours, self.theirs, self.waker = ours, theirs, waker

    def events(self, count: int = 1) -> list[Event]:
        """As many as there are after `count` have come."""
        found: list[Event] = []
        until_s = time.monotonic() + PATIENCE_S
        while len(found) < count and time.monotonic() < until_s:
            found += self.step()
        return found

    def step(self) -> list[Event]:
        return self.ours.step(0.01, self.waker)

    def read(self, count: int) -> bytes:
        self.ours.write()
        return self.theirs.recv(count, socket.MSG_WAITALL)


@pytest.fixture(params=[Version.MQTT_5, Version.MQTT_311], ids=str)
def version(request):
    return request.param


@pytest.fixture(params=[FastConnection, Connection], ids=["fast", "plain"])
def peer(version, request):
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listening.getsockname()[1]
        options = connections.Options(Address("127.0.0.1", port), "c", version, 30, True, 0, 100, 1 << 20, PATIENCE_S)
        ours = request.param(options, 7)
        assert ours.open() is None
        opened.callback(ours.drop)
        theirs = opened.enter_context(listening.accept()[0])
        theirs.settimeout(PATIENCE_S)
        waker, wakee = socket.socketpair()
        opened.enter_context(waker)
        opened.enter_context(wakee)
        made = Peer(ours, theirs, wakee)
        ours.write()
        theirs.recv(1 << 16)
        theirs.sendall(CONNACK[version])
        assert isinstance(made.events()[0], Accepted)
        yield made


def publish(version, payload, *, qos=1, mid=5, properties=b""):
    body = b"\0\3t/x" + (mid.to_bytes(2, "big") if qos else b"")
    body += bytes([len(properties)]) + properties if version is Version.MQTT_5 else b""
    body += payload
    length, rest = b"", len(body)
    while rest >= 128:
        length += bytes([rest & 127 | 128])
        rest >>= 7
    return bytes([0x30 | qos << 1]) + length + bytes([rest]) + body


def said(events):
    return [(event.topic, event.payload, event.qos, event.receipt) for event in events if isinstance(event, Message)]


def test_messages_are_told_apart_wherever_the_stream_is_torn(peer, version):
    sent = [publish(version, bytes([number]) * (number * 37), mid=number, qos=number % 2) for number in range(1, 9)]
    stream, found = b"".join(sent), []
    for begin in range(0, len(stream), 11):
        peer.theirs.sendall(stream[begin : begin + 11])
        found += peer.step()
    found += peer.events(8 - len(found))

    assert said(found) == [
        ("t/x", bytes([number]) * (number * 37), number % 2, (7, number if number % 2 else 0)) for number in range(1, 9)
    ]


def test_packets_are_sent_again_after_a_second_at_most(peer):
    with socket.socket(fileno=os.dup(peer.ours._client.socket().fileno())) as sock:
        try:
            most_ms = sock.getsockopt(socket.IPPROTO_TCP, network.TCP_RTO_MAX_MS)
        except OSError:
            pytest.skip("Linux before 6.15")

    assert most_ms == 1_000


def test_a_message_of_many_reads_comes_whole(peer, version):
    payload = bytes(range(256)) * 2000
    peer.theirs.settimeout(0)
    packet, found = publish(version, payload), []
    until_s = time.monotonic() + PATIENCE_S
    while not found and time.monotonic() < until_s:
        with contextlib.suppress(BlockingIOError):
            packet = packet[peer.theirs.send(packet) :]
        found = peer.step()

    assert said(found) == [("t/x", payload, 1, (7, 5))]


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
def test_messages_with_and_without_properties_come_in_order(peer, version):
    user_property = b"\x26\0\1a\0\1b"
    peer.theirs.sendall(
        publish(version, b"1", mid=1) + publish(version, b"2", mid=2, properties=user_property) + publish(version, b"3")
    )

    assert said(peer.events(3)) == [("t/x", b"1", 1, (7, 1)), ("t/x", b"2", 1, (7, 2)), ("t/x", b"3", 1, (7, 5))]


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
def test_acknowledgements_say_what_was_refused(peer):
    for _ in range(4):
        peer.ours.publish(Outgoing("t/x", b"", 1), None)
    peer.theirs.sendall(b"\x40\2\0\1" + b"\x40\3\0\2\x10" + b"\x40\3\0\3\x97" + b"\x40\4\0\4\x87\0")

    assert peer.events(4) == [
        Acknowledged(1, None),
        Acknowledged(2, None),  # nobody subscribes to it, which is no failure
        Acknowledged(3, "Quota exceeded"),
        Acknowledged(4, "Not authorized"),
    ]


@pytest.mark.parametrize("data", [b"\x30\xff\xff\xff\xff\x01", b"\x30\0", b"\x32\4\0\xffab", b"\x40\1\0"])
def test_what_cannot_be_read_ends_the_connection(peer, data):
    peer.theirs.sendall(data)

    assert isinstance(peer.events()[-1], Lost)


def test_an_end_in_the_middle_of_a_message_ends_the_connection(peer, version):
    peer.theirs.sendall(publish(version, b"whole") + publish(version, b"torn")[:-1])
    assert said(peer.events()) == [("t/x", b"whole", 1, (7, 5))]
    peer.theirs.close()

    assert isinstance(peer.events()[-1], Lost)


def test_what_is_published_stands_on_the_wire_as_it_should(peer, version):
    for qos, payload in ((0, b"a" * 200), (1, bytearray(b"b"))):
        mid = peer.ours.publish(Outgoing("t/x", payload, qos, retain=True), None)
        packet = bytearray(publish(version, bytes(payload), qos=qos, mid=mid))
        packet[0] |= 1

        assert peer.read(len(packet)) == packet


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
def test_an_expiry_travels_as_a_property(peer, version):
    mid = peer.ours.publish(Outgoing("t/x", b"soon", 1), 9.0)
    packet = publish(version, b"soon", mid=mid, properties=b"\2\0\0\0\t")

    assert peer.read(len(packet)) == packet


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
def test_a_packet_id_is_not_used_again_before_it_is_acknowledged(peer):
    first = peer.ours.publish(Outgoing("t/x", b"", 1), None)
    others = [peer.ours.publish(Outgoing("t/x", b"", 1), None) for _ in range(65_534)]
    assert sorted([first, *others]) == list(range(1, 65_536))
    peer.theirs.sendall(b"\x40\2" + others[100].to_bytes(2, "big"))
    assert peer.events() == [Acknowledged(others[100], None)]

    assert peer.ours.publish(Outgoing("t/x", b"", 1), None) == others[100]


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
@pytest.mark.parametrize("code", [0x83, 0x95, 0xA3, 0xFF])  # 0x95 is one of other packets; the last two are nowhere
def test_a_reason_code_that_no_table_has_is_a_refusal_and_not_the_end(peer, code):
    peer.ours.publish(Outgoing("t/x", b"", 1), None)
    subscription, end = peer.ours.subscribe("t/#", 1, is_renewal=False), peer.ours.unsubscribe("t/#")
    peer.theirs.sendall(bytes([0x40, 3, 0, 1, code]))
    peer.theirs.sendall(bytes([0x90, 4, 0, subscription, 0, code]) + bytes([0xB0, 4, 0, end, 0, code]))

    answers = peer.events(3)
    assert [(type(answer), answer.mid) for answer in answers] == [
        (Acknowledged, 1),
        (Subscribed, subscription),
        (Subscribed, end),
    ]
    assert all(answer.refusal for answer in answers)


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
@pytest.mark.parametrize("packet", [0x40, 0x50, 0x62, 0x70])
def test_no_code_of_any_answer_about_a_message_ends_the_connection(peer, packet):
    for code in range(256):
        peer.theirs.sendall(bytes([packet, 3, 0, 9, code]))
    peer.theirs.sendall(publish(Version.MQTT_5, b"after"))
    found = []
    while not said(found):
        found += peer.events()

    assert not any(isinstance(event, Lost) for event in found)


@pytest.mark.parametrize("version", [Version.MQTT_5], ids=str)
@pytest.mark.parametrize("code", [0x95, 0x99, 0xA3, 0xFF])
def test_the_code_of_a_goodbye_is_told_whatever_it_is(peer, code):
    peer.theirs.sendall(bytes([0xE0, 1, code]))

    (lost,) = peer.events()
    assert lost.reason.startswith("broker hung up: ")
    assert lost.is_packet is (code == 0x95)


@pytest.fixture
def clock(monkeypatch):
    """The connections' time, in seconds; it passes when told to."""
    now_s = [0.0]
    monkeypatch.setattr(connections, "_clock", lambda: now_s[0])
    return now_s


def looked_at(peer, clock, times, *, each_s=0.5, meanwhile=lambda: None):
    found = []
    for _ in range(times):
        clock[0] += each_s
        meanwhile()
        found += peer.ours.step(0.0, peer.waker)
    return found


def test_a_broker_that_is_silent_for_one_and_a_half_keepalives_is_lost(clock, peer):
    assert looked_at(peer, clock, 90) == []  # 45 s of 30

    (lost,) = looked_at(peer, clock, 1)
    assert lost.reason.startswith("the broker was not heard for 45.5 s")


def test_what_we_send_is_no_sign_of_the_brokers_life(clock, peer):
    found = looked_at(peer, clock, 91, meanwhile=lambda: peer.ours.publish(Outgoing("t/x", b"", 0), None))
    assert isinstance(found[-1], Lost)


def test_what_the_broker_sends_is(clock, peer, version):
    looked_at(peer, clock, 80)
    peer.theirs.sendall(publish(version, b""))
    assert said(looked_at(peer, clock, 90)) == [("t/x", b"", 1, (7, 5))]


def test_time_in_which_nobody_looked_is_no_silence(clock, peer):
    """A machine that slept, or a process that was stopped, did not ping either."""
    assert looked_at(peer, clock, 40, each_s=3600.0) == []
