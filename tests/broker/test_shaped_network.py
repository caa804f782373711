"""Frames over the kernel's own TCP on a slow and lossy cable. Bounds are those of the cable: it is never faster."""

import contextlib
import subprocess
import threading

import pytest
import shaped_network

from broker import embedded, linkprobe
from broker.address import Address

SOON_S = 30.0
PORT = 18830


@pytest.fixture(scope="module", autouse=True)
def _where_possible():
    reason = shaped_network.unavailable() or ("" if embedded.mosquitto_path() else "mosquitto is not installed")
    if reason:
        pytest.skip(reason)


@contextlib.contextmanager
def broker_behind(network, tmp_path):
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {PORT} {shaped_network.FAR}\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    command = network.inside(str(embedded.mosquitto_path()), "-c", str(config))
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Address(shaped_network.FAR, PORT)
    finally:
        started.kill()
        started.wait()


def connect(join, address, name):
    transport = join(address, name, is_connected=False)
    transport.connect(timeout_s=SOON_S, keep_trying=True)  # the broker is starting
    return transport


def test_a_probe_over_a_slow_cable_finds_it_no_faster_than_it_is(tmp_path, join, monkeypatch):
    monkeypatch.setattr(linkprobe, "_HELLO_S", 0.2)
    with shaped_network.shaped(rate_bps=8e6) as network, broker_behind(network, tmp_path) as address:
        settings = linkprobe.Settings("d", "probe", sizes=(100, 200_000), size_s=0.5)
        found = linkprobe.probe(connect(join, address, "a"), connect(join, address, "b"), settings, run=1)

    largest = found.link.points[-1]
    # What the bucket and the queues let pass at once is not timed.
    assert min(largest.round_trip.samples_s) >= (200_000 - 65_536) * 8 / 8e6


def test_messages_at_qos_1_all_arrive_where_packets_are_lost(tmp_path, join):
    with shaped_network.shaped(rate_bps=50e6, loss=0.05) as network, broker_behind(network, tmp_path) as address:
        ours, theirs = connect(join, address, "a"), connect(join, address, "b")
        theirs.subscribe("t", timeout_s=SOON_S)
        received = []
        taking = threading.Thread(target=lambda: received.extend(take(theirs, 100)))
        taking.start()
        for number in range(100):
            ours.publish("t", number.to_bytes(4, "big") + bytes(5_000), timeout_s=SOON_S)
        taking.join(2 * SOON_S)
        dropped = network.dropped_packets()

    assert [int.from_bytes(payload[:4], "big") for payload in received] == list(range(100))
    assert dropped > 0


def take(transport, count):
    for _ in range(count):
        message = transport.receive(SOON_S)
        assert message is not None
        transport.acknowledge(message)
        yield message.payload
