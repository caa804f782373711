"""Frames over the kernel's own TCP on a slow, long and lossy link. Bounds are those of the link: it is never faster."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import real_link
import waiting

from broker.links import delay_line, namespace, throughput
from broker.local import server
from broker.transport.address import Address
from tflsplit import errors

SOON_S = waiting.WAIT_S
PORT = 18830
ANSWER = """
import socket, sys
server = socket.create_server((sys.argv[1], 18831))
print("ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        while piece := client.recv(65536):
            client.sendall(piece)
"""


@pytest.fixture(scope="module")
def _where_possible():
    real_link.skip_where_impossible()


real = pytest.mark.usefixtures("_where_possible")


@contextlib.contextmanager
def broker_behind(network, tmp_path):
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {PORT} {network.address}\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    command = network.inside(str(server.mosquitto_path()), "-c", str(config))
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Address(network.address, PORT)
    finally:
        started.kill()
        started.wait()


@contextlib.contextmanager
def echo_behind(network):
    """A connection to one who sends everything back."""
    command = network.inside(sys.executable, "-c", ANSWER, network.address)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout.readline() == b"ready\n"
            with socket.create_connection((network.address, 18831), SOON_S) as ours:
                yield ours
        finally:
            started.kill()


def connect(join, address, name):
    transport = join(address, name, is_connected=False)
    transport.connect(timeout_s=SOON_S, keep_trying=True)  # the broker is starting
    return transport


def interfaces():
    return {name for _, name in socket.if_nameindex() if name.startswith("tfs")}


@real
def test_a_probe_over_a_slow_link_finds_it_no_faster_than_it_is(tmp_path, join, monkeypatch):
    monkeypatch.setattr(throughput, "_HELLO_S", 0.2)
    with namespace.shaped(rate_bps=8e6) as network, broker_behind(network, tmp_path) as address:
        settings = throughput.Settings("d", "probe", sizes=(100, 200_000), size_s=0.5)
        found = throughput.probe(connect(join, address, "a"), connect(join, address, "b"), settings, run=1)

    largest = found.link.points[-1]
    # What the bucket lets pass at once is not timed.
    assert min(largest.round_trip.samples_s) >= (200_000 - 1_600) * 8 / 8e6


@real
def test_messages_at_qos_1_all_arrive_where_packets_are_lost(tmp_path, join):
    with namespace.shaped(rate_bps=50e6, loss=0.05) as network, broker_behind(network, tmp_path) as address:
        ours, theirs = connect(join, address, "a"), connect(join, address, "b")
        theirs.subscribe("t", timeout_s=SOON_S)
        received = []
        taking = threading.Thread(target=lambda: received.extend(take(theirs, 100)))
        taking.start()
        for number in range(100):
            ours.publish("t", number.to_bytes(4, "big") + bytes(5_000), timeout_s=SOON_S)
        taking.join(2 * SOON_S)
        lost = network.lost_packets()

    assert [int.from_bytes(payload[:4], "big") for payload in received] == list(range(100))
    assert lost > 0


def take(transport, count):
    for _ in range(count):
        message = transport.receive(SOON_S)
        assert message is not None
        transport.acknowledge(message)
        yield message.payload


@real
def test_the_delay_is_that_of_both_directions_and_nothing_is_changed_on_the_way():
    sent = os.urandom(300_000)
    with namespace.shaped(rate_bps=100e6, delay_s=0.03) as network, echo_behind(network) as ours:
        began_s = time.monotonic()
        ours.sendall(b"!")
        assert ours.recv(1) == b"!"
        ended_s = time.monotonic()
        sending = threading.Thread(target=ours.sendall, args=(sent,))
        sending.start()
        back = b""
        while len(back) < len(sent):
            back += ours.recv(65536)
        sending.join()

    assert back == sent
    assert ended_s - began_s >= 0.06


@real
def test_in_an_outage_nothing_passes_and_what_was_sent_comes_after_it():
    with namespace.shaped(rate_bps=100e6) as network, echo_behind(network) as ours:
        with network.outage():
            ours.sendall(b"!")
            ours.settimeout(0.3)
            with pytest.raises(TimeoutError):
                ours.recv(1)
        ours.settimeout(SOON_S)
        assert ours.recv(1) == b"!"


@real
def test_two_links_stand_side_by_side_and_nothing_is_left_of_them():
    before = interfaces()
    with namespace.shaped(rate_bps=50e6) as one, namespace.shaped(rate_bps=50e6, delay_s=0.001) as other:
        assert len({one.outside, one.address, other.outside, other.address}) == 4
        for network in (one, other):
            with echo_behind(network) as ours:
                ours.sendall(b"!")
                assert ours.recv(1) == b"!"
        links = interfaces() - before  # and perhaps another's, which goes as well
        assert len(links) >= 2

    waiting.wait_for(lambda: not links & interfaces())


@real
def test_nothing_is_left_of_a_link_whose_maker_is_killed():
    before = interfaces()
    script = (
        "import sys\nfrom broker.links import namespace\nwith namespace.shaped(rate_bps=1e6, delay_s=0.01) as made:\n"
    )
    script += "    print(made.outside, flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout.readline()
        links = interfaces() - before
        assert links
        maker.send_signal(signal.SIGKILL)
    waiting.wait_for(lambda: not links & interfaces())


@real
def test_a_step_that_fails_names_its_command_and_leaves_nothing():
    before = interfaces()

    with (
        pytest.raises(errors.DeviceError, match=r"no link of network namespaces: `.*tc qdisc.*`: "),
        namespace.shaped(
            rate_bps=0.4  # rounds to nothing
        ),
    ):
        pass
    waiting.wait_for(lambda: interfaces() <= before)  # there may be another's, which comes and goes


def refusal():
    with pytest.raises(errors.DeviceError) as refused, namespace.shaped(rate_bps=1e6):
        pass
    return str(refused.value)


def test_who_is_not_root_is_told_what_needs_no_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert refusal() == "a link of network namespaces needs root; become root, or replay over the relay"


def test_tools_that_are_missing_are_named_with_where_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for tool in ("ip", "nsenter", "unshare"):
        (tmp_path / tool).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert refusal() == "a link of network namespaces needs tc, nft: apt install iproute2 nftables util-linux"


def test_a_kernel_that_can_delay_in_no_way_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(delay_line, "DEVICE", tmp_path / "tun")

    with (
        pytest.raises(errors.DeviceError, match="a delay needs netem or TUN, and this kernel has no netem"),
        delay_line.between(("near", "far"), 0.01),
    ):
        pass
