"""Machines on a switch in the kernel. Bounds are those of the links: they are never faster."""

import contextlib
import socket
import subprocess
import sys

import pytest
import real_link
import waiting

from broker.links import lan
from tflsplit import errors

RATE_BPS = 8e6
BYTES = 400_000
# One reads all; the other prints the seconds until that was done.
RECEIVE = """
import socket, sys
server = socket.create_server((sys.argv[1], 5000))
print("ready", flush=True)
client, _ = server.accept()
while client.recv(65536):
    pass
client.sendall(b"x")
"""
SEND = """
import socket, sys, time
with socket.create_connection((sys.argv[1], 5000)) as to:
    begun_s = time.monotonic()
    to.sendall(bytes(int(sys.argv[2])))
    to.shutdown(socket.SHUT_WR)
    to.recv(1)
    print(time.monotonic() - begun_s)
"""


@pytest.fixture(autouse=True)
def _where_possible():
    real_link.skip_where_impossible()


def sent_side_by_side(net, pairs):
    """The longest that any took, in seconds."""
    with contextlib.ExitStack() as stack:
        for _, target in pairs:
            command = net.inside(target, sys.executable, "-c", RECEIVE, net.addresses[target])
            receiving = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(receiving.kill)
            assert receiving.stdout.readline() == "ready\n"
        sending = [
            subprocess.Popen(
                net.inside(source, sys.executable, "-c", SEND, net.addresses[target], str(BYTES)),
                stdout=subprocess.PIPE,
                text=True,
            )
            for source, target in pairs
        ]
        return max(float(each.communicate(timeout=waiting.WAIT_S)[0]) for each in sending)


def test_each_machine_has_its_link_or_all_have_one_medium():
    took_s = BYTES * 8 / RATE_BPS
    with lan.joined([RATE_BPS] * 4) as net:
        assert sent_side_by_side(net, [(0, 1), (2, 3)]) > 0.9 * took_s
    with lan.joined([float("inf")] * 4, medium_bps=RATE_BPS) as net:
        assert sent_side_by_side(net, [(0, 1), (2, 3)]) > 0.9 * 2 * took_s


def test_this_machine_is_reached_and_no_interface_is_left():
    with lan.joined([1e9, 1e9], medium_bps=1e9) as net:
        with socket.create_server((net.outside, 5000)) as server:
            command = net.inside(1, sys.executable, "-c", SEND, net.outside, "1000")
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sending:
                client, (address, _) = server.accept()
                assert address == net.addresses[1]
                client.close()
                sending.communicate(timeout=waiting.WAIT_S)
        ours = {name for _, name in socket.if_nameindex() if name.startswith("tfs")}
        assert ours
    assert not ours <= {name for _, name in socket.if_nameindex()}


def test_too_many_machines_are_refused():
    with pytest.raises(errors.SettingsError, match="give 1 to 62"), lan.joined([1e6] * 63):
        pass
