"""What a service tells systemd: one datagram to `$NOTIFY_SOCKET`, as sd_notify(3) describes it; elsewhere nothing."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """Every method may be called from any thread, and does nothing where no one listens. Nothing here ever raises: a
    service goes on whose supervisor does not take a message."""

    def __init__(
        self, surroundings: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = _address(surroundings.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self._fed_at_s = -float("inf")
        self.watchdog_s = _watchdog_s(surroundings)

    @property
    def is_heard(self) -> bool:
        return self._address is not None

    def ready(self, status: str) -> None:
        """The start is over, or a reload."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, words: str) -> None:
        """One line for people, in `systemctl status`."""
        self._send(f"STATUS={words}")

    def starting(self, words: str, *, within_s: float) -> None:
        """The start goes on; the next message comes within so many seconds."""
        self._send(f"EXTEND_TIMEOUT_USEC={within_s * 1e6:.0f}", f"STATUS={words}")

    def feed_watchdog(self) -> None:
        """Call it after each piece of work: it is told at most four times in the watchdog's period."""
        if self.watchdog_s is None:
            return
        now_s = self._clock()
        if now_s - self._fed_at_s >= self.watchdog_s / 4:
            self._fed_at_s = now_s
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """`ready` says when it is over. systemd compares the time, CLOCK_MONOTONIC in µs, with that of its request."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, words: str) -> None:
        self._send("STOPPING=1", f"STATUS={words}")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        message = "\n".join(" ".join(one.splitlines()) for one in assignments)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A supervisor that is busy must not stop the work that it watches over.
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)


def _address(named: str) -> bytes | None:
    """A path, or a name that is in no file system: systemd writes @ for the zero byte that it begins with."""
    if named.startswith("@"):
        return b"\0" + os.fsencode(named[1:])
    return os.fsencode(named) if named.startswith("/") else None


def _watchdog_s(surroundings: Mapping[str, str]) -> float | None:
    """None without a watchdog, or where it is for another process."""
    microseconds, process = surroundings.get("WATCHDOG_USEC", ""), surroundings.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6
