"""The relay between real sockets: bytes arrive whole, in order and not too early, and senders are held back."""

import contextlib
import hashlib
import socket
import threading
import time

import pytest
import waiting

from broker.links.playback import Play
from broker.links.relay import Relay
from broker.links.shaping import Shape
from broker.transport.address import Address
from tflsplit.switching import traces
from tflsplit.switching.traces import Conditions

SOON_S = waiting.WAIT_S


@pytest.fixture
def server():
    """Accepts one connection; gives the listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SOON_S)
        yield listener


@contextlib.contextmanager
def connected(server, up=None, down=None):
    """A relay, the client's socket and the server's."""
    target = Address("127.0.0.1", server.getsockname()[1])
    with (
        Relay(target, up=up or Shape(), down=down or Shape()) as relay,
        socket.create_connection((relay.address.host, relay.address.port), SOON_S) as client,
    ):
        far, _ = server.accept()
        far.settimeout(SOON_S)
        with far:
            yield relay, client, far


def read_all(source, count):
    parts = []
    while count:
        part = source.recv(min(count, 65_536))
        assert part
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


@pytest.mark.parametrize("upward", [True, False])
def test_bytes_arrive_whole_and_in_order(server, upward):
    data = hashlib.shake_128(b"seed").digest(3_000_000)
    with connected(server) as (_, client, far):
        near, other = (client, far) if upward else (far, client)
        sender = threading.Thread(target=near.sendall, args=(data,))
        sender.start()

        assert read_all(other, len(data)) == data
        sender.join(SOON_S)


def test_nothing_comes_out_before_its_time(server):
    shape = Shape(bandwidth_bps=8e6, delay_s=0.05)
    with connected(server, up=shape) as (_, client, far):
        began_s = time.monotonic()
        sender = threading.Thread(target=client.sendall, args=(bytes(100_000),))
        sender.start()
        read_all(far, 100_000)
        took_s = time.monotonic() - began_s
        sender.join(SOON_S)

    # 100 kB at 8 Mbit/s and 50 ms; it may always take longer.
    assert took_s >= 0.15


def test_a_link_that_plays_a_trace_lets_nothing_through_while_that_has_no_capacity(server):
    rows = (0.0, 8e6, Conditions()), (0.2, 0.0, Conditions()), (0.7, 8e6, Conditions())
    with connected(server) as (relay, client, far):
        began_s = time.monotonic()
        relay.play(Play(traces.of_rates("made", rows, 60.0), 0.0), began_s)
        sender = threading.Thread(target=client.sendall, args=(bytes(250_000),))
        sender.start()
        read_all(far, 250_000)
        took_s = time.monotonic() - began_s
        sender.join(SOON_S)

    # A quarter of a second at 8 Mbit/s, and the half second in which nothing passes.
    assert took_s >= 0.75


def test_a_sender_that_is_too_fast_is_held_back(server):
    """In an outage nothing moves: what is taken in is what the buffers hold, and not all there is."""
    with connected(server) as (relay, client, _far), relay.outage():
        client.settimeout(1.0)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64 << 20:
                sent += client.send(bytes(65_536))

    assert sent < 32 << 20


def test_what_comes_during_an_outage_arrives_after_it(server):
    with connected(server) as (relay, client, far):
        with relay.outage():
            client.sendall(b"late")
            far.settimeout(0.1)
            with pytest.raises(TimeoutError):
                far.recv(1)
        far.settimeout(SOON_S)

        assert read_all(far, 4) == b"late"


def test_the_end_of_one_side_reaches_the_other_after_its_last_byte(server):
    with connected(server, up=Shape(delay_s=0.02)) as (_, client, far):
        client.sendall(b"last words")
        client.shutdown(socket.SHUT_WR)

        assert read_all(far, 10) == b"last words"
        assert far.recv(1) == b""
        far.sendall(b"answer")
        assert read_all(client, 6) == b"answer"
        far.close()
        assert client.recv(1) == b""


def test_an_interruption_breaks_connections_and_new_ones_are_taken(server):
    with connected(server) as (relay, client, far):
        relay.interrupt()

        assert far.recv(1) == b""
        assert client.recv(1) == b""
        with socket.create_connection((relay.address.host, relay.address.port), SOON_S) as again:
            other, _ = server.accept()
            with other:
                again.sendall(b"x")
                assert read_all(other, 1) == b"x"


def test_a_broker_that_is_away_ends_the_connection(server):
    target = Address("127.0.0.1", server.getsockname()[1])
    server.close()
    with (
        Relay(target, up=Shape(), down=Shape()) as relay,
        socket.create_connection((relay.address.host, relay.address.port), SOON_S) as client,
    ):
        client.settimeout(SOON_S)
        assert client.recv(1) == b""


def test_mqtt_passes_through_it(mosquitto, join):
    with Relay(mosquitto.address, up=Shape(delay_s=0.005), down=Shape(delay_s=0.005)) as relay:
        near = join(relay.address, "near")
        far = join(mosquitto.address, "far")
        far.subscribe("t")
        near.publish("t", bytes(200_000))

        message = far.receive(SOON_S)
        assert message is not None
        assert len(message.payload) == 200_000
