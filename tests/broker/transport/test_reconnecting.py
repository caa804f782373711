"""When a connection is tried again: soon while nobody is reached, with growing pauses where somebody answers."""

import contextlib
import errno
import os
import pathlib
import random
import shutil
import socket
import ssl
import subprocess
import sys
from typing import NamedTuple

import pytest

from broker.local import server
from broker.transport import network
from broker.transport.address import Address
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState
from broker.transport.reconnecting import Reconnecting
from broker.transport.state import Lost

SOON_S = 20.0
SILENCE, ANSWER, REFUSAL = Lost("no such name", is_silent=True), Lost("hung up"), Lost("refused", is_for_good=True)


class Lived(NamedTuple):
    """A connection of so many seconds, and if it carried a message."""

    seconds: float
    has_passed: bool = False


class Scripted(Reconnecting):
    """Attempts that end as they are told, and pauses that are noted in place of waited for."""

    def __init__(self, *ends):
        super().__init__("broker x", "scripted", None, Backoff(), random.Random(1))
        self._ends = list(ends)
        self._clock = lambda: self.now_s
        self.now_s = 0.0
        self.pauses = []

    def _attempt(self):
        if not self._ends:
            self._is_stopping = True
            return REFUSAL
        end = self._ends.pop(0)
        if isinstance(end, Lived):
            self._go_online()
            self.now_s += end.seconds
            self._shared.has_passed = end.has_passed
            return ANSWER
        return end

    def _pause(self, wait_s, changes=None):
        self.pauses.append((wait_s, changes is not None))

    def _wake(self):
        pass

    def _stop(self):
        pass

    def _known(self):
        return {"broker": "x"}


def pauses(*ends):
    scripted = Scripted(*ends)
    scripted.begin()
    assert scripted.wait_for(ConnectionState.CLOSED, SOON_S)
    scripted.close()
    return scripted.pauses


def test_while_nothing_answers_the_pause_stays_at_a_second_and_ends_with_a_change_of_the_network():
    found = pauses(*[SILENCE] * 40)

    assert max(wait_s for wait_s, _ in found) <= 1.0
    assert [hears for _, hears in found] == [False, True] * 40
    # Those of one instant come back apart.
    assert len({wait_s for wait_s, hears in found[-40:] if hears}) > 10


def test_a_broker_that_answers_and_fails_is_left_alone_for_longer_each_time():
    found = pauses(*[ANSWER] * 12)

    assert found[-1][0] >= 15.0
    assert not any(hears for _, hears in found)


def test_a_broker_that_dies_again_and_again_is_tried_again_soon_and_one_that_hangs_up_is_not():
    """A reader whose session died with it misses what is said until it is back."""
    for died in (Lived(1.5), Lived(0.1, has_passed=True)):
        assert max(wait_s for wait_s, _ in pauses(*[died] * 20)) <= 0.5
    assert pauses(*[Lived(0.9)] * 12)[-1][0] >= 15.0


def test_a_connection_that_lasted_starts_the_row_anew():
    assert pauses(*[Lived(0.1)] * 12, Lived(10.0))[-1][0] <= 0.25


def test_silence_does_not_make_the_pause_longer_for_a_broker_that_answers():
    assert pauses(*[SILENCE] * 40, ANSWER)[-1][0] <= 0.25


def test_the_log_tells_of_the_first_silence_and_of_new_reasons_only(caplog):
    caplog.set_level("INFO")
    pauses(*[SILENCE] * 20, Lost("no route", is_silent=True), *[SILENCE] * 20)

    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == [
        "connection state=waiting broker=x reason='no such name'",
        "connection state=waiting broker=x reason='no route'",
    ]


@pytest.mark.parametrize(
    ("problem", "is_silent"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (OSError(errno.ENETUNREACH, "unreachable"), True),
        (OSError(errno.EHOSTUNREACH, "no route"), True),
        (TimeoutError("timed out"), True),
        (TimeoutError("_ssl.c:980: The handshake operation timed out"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (ssl.SSLError("wrong version number"), False),
        (None, False),
    ],
)
def test_who_was_reached_and_who_was_not(problem, is_silent):
    assert network.is_silent(problem) is is_silent


def test_a_port_that_nobody_listens_at_and_one_that_hangs_up_are_told_apart(join, scripted):
    for where, is_silent in ((closed_port(), True), (scripted(b"", b"").address, False)):
        client = join(where, "client", is_connected=False)
        client.begin()
        assert client.wait_for(ConnectionState.WAITING, SOON_S)
        assert client._lost.is_silent is is_silent
        client.close()


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        return Address("127.0.0.1", gone.getsockname()[1])


def test_what_woke_an_earlier_connection_shortens_one_pause_and_not_all():
    waiting_client = Scripted()
    changes = network.Changes()
    waiting_client._rouse()
    Reconnecting._pause(waiting_client, SOON_S, changes)

    with pytest.raises(BlockingIOError):
        waiting_client._wakee.recv(1)
    changes.close()
    waiting_client.close()


def test_a_machine_that_tells_nothing_of_its_network_waits_by_the_clock(monkeypatch):
    def forbidden(*_):
        raise OSError(errno.EAFNOSUPPORT, "a sandbox")

    waker, wakee = socket.socketpair()
    with waker, wakee:
        monkeypatch.setattr(network.socket, "socket", forbidden)
        changes = network.Changes()
        changes.forget()
        changes.wait(0.001, wakee)
        waker.send(b"\0")
        changes.wait(SOON_S, wakee)
        changes.close()


# Only a change of the network ends its pauses.
COMES_ONLINE = """
from broker.mqtt.transport import MqttTransport
from broker.transport.address import Address
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState

class Never(Backoff):
    def wait_s(self, attempt, randomness, *, most_s=None):
        return 1e6 if most_s == self.most_silent_s else 0.01

with MqttTransport(Address("198.18.77.1", 18831), client_id="c", backoff=Never()) as client:
    client.begin()
    print("waits", client.wait_for(ConnectionState.WAITING, 20.0), flush=True)
    print("online", client.wait_for(ConnectionState.ONLINE, 20.0), flush=True)
"""


def test_a_new_address_ends_the_pause_at_once(tmp_path):
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("needs root, iproute2 and util-linux for a network of its own")
    if server.mosquitto_path() is None:
        pytest.skip("mosquitto is not installed: apt install mosquitto")
    config = tmp_path / "mosquitto.conf"
    config.write_text("listener 18831 0.0.0.0\nallow_anonymous true\nuser root\n")
    with contextlib.ExitStack() as started:

        def start(*command, **options):
            process = started.enter_context(subprocess.Popen(command, **options))
            started.callback(process.kill)
            return process

        holder = start("unshare", "-n", "cat", stdin=subprocess.PIPE)
        inside = ("nsenter", "-t", str(holder.pid), "-n")
        wait_for_namespace(holder.pid)
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        start(*inside, server.mosquitto_path(), "-c", str(config), stderr=subprocess.DEVNULL)
        client = start(*inside, sys.executable, "-c", COMES_ONLINE, stdout=subprocess.PIPE, text=True)
        assert client.stdout.readline() == "waits True\n"
        subprocess.run([*inside, "ip", "addr", "add", "198.18.77.1/32", "dev", "lo"], check=True)
        assert client.stdout.readline() == "online True\n"


def wait_for_namespace(pid):
    """`unshare` has left our network."""
    ours = pathlib.Path("/proc/self/ns/net").readlink()
    while pathlib.Path(f"/proc/{pid}/ns/net").readlink() == ours:
        os.sched_yield()
