"""What is told to systemd, over a socket like its own."""

import os
import socket
import time

import pytest

from edge_runtime.service.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    """A socket of either kind, the environment that names it, and all that was said since the last look."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@tflsplit-test-{os.getpid()}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0"))
        listening.setblocking(False)

        class Supervisor:
            environ = {"NOTIFY_SOCKET": name}  # noqa: RUF012 - only read

            @staticmethod
            def heard():
                said = []
                while True:
                    try:
                        said.append(listening.recv(4096).decode())
                    except BlockingIOError:
                        return said

        yield Supervisor()


def test_messages_are_those_of_the_protocol(supervisor):
    notifier = Notifier(supervisor.environ)
    notifier.starting("loading", within_s=60)
    notifier.ready("running")
    notifier.status("25 frames/s")
    notifier.stopping("bye")

    assert notifier.is_heard
    assert supervisor.heard() == [
        "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=loading",
        "READY=1\nSTATUS=running",
        "STATUS=25 frames/s",
        "STOPPING=1\nSTATUS=bye",
    ]


def test_a_reload_names_the_time_of_this_machine(supervisor):
    before = time_us()
    Notifier(supervisor.environ).reloading()
    first, second = supervisor.heard()[0].split("\n")

    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time_us()


def time_us():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_the_watchdog_is_pinged_at_most_four_times_in_its_period(supervisor):
    now_s = 0.0
    notifier = Notifier({**supervisor.environ, "WATCHDOG_USEC": "4000000"}, clock=lambda: now_s)
    for step in range(1000):
        now_s = step / 100
        notifier.ping_watchdog()

    assert supervisor.heard() == ["WATCHDOG=1"] * 10


@pytest.mark.parametrize(
    "named", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}]
)
def test_no_watchdog_is_pinged_if_there_is_none_or_it_watches_another_process(supervisor, named):
    notifier = Notifier({**supervisor.environ, **named})
    notifier.ping_watchdog()

    assert notifier.watchdog_s is None
    assert supervisor.heard() == []


def test_the_watchdog_of_this_process_is_pinged(supervisor):
    named = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}
    Notifier({**supervisor.environ, **named}).ping_watchdog()

    assert supervisor.heard() == ["WATCHDOG=1"]


def test_a_line_of_state_stays_one_line(supervisor):
    Notifier(supervisor.environ).status("a\nREADY=1\nb")

    assert supervisor.heard() == ["STATUS=a READY=1 b"]


@pytest.mark.parametrize("named", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "relative"}])
def test_without_a_supervisor_nothing_happens(named):
    notifier = Notifier(named)
    notifier.ready("running")

    assert not notifier.is_heard


def test_a_supervisor_that_has_gone_or_is_busy_stops_nobody(tmp_path):
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    gone.ready("running")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "busy"))
        busy = Notifier({"NOTIFY_SOCKET": str(tmp_path / "busy")})
        for _ in range(1000):  # more than the socket's queue takes
            busy.status("x" * 1000)
