"""Ports for servers that may be killed and started again: none that the kernel gives to clients by chance.

A client that tries again and again to reach a port of that kind on this machine may even connect to itself, and then
the server cannot have it back.
"""

import contextlib
import pathlib
import random
import socket

from waiting import wait_for

_FIRST = 10_000
_CLIENTS = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
_CHANCE = random.SystemRandom()  # not the one that hypothesis seeds


def free_port():
    """It is bound by nobody; drawn by chance, so that tests beside these draw another."""
    clients_first = int(_CLIENTS.read_text("ascii").split()[0])
    while True:
        port = _CHANCE.randrange(_FIRST, max(clients_first, 2 * _FIRST))
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def await_server(port, process):
    """Returns once somebody listens there; the test fails if the process that is to has ended before."""

    def is_there():
        assert (code := process.poll()) is None, f"it ended with {code}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return True
        return False

    wait_for(is_there)
