"""Messages of a service to systemd: datagrams to `$NOTIFY_SOCKET`, as sd_notify(3) describes; none without it."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping


class Notifier:
    """Every method may be called from any thread, and does nothing without a supervisor. No method raises: the service
    goes on even if its supervisor does not take a message."""

    def __init__(self, environ: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self._pinged_at_s = -float("inf")
        self.watchdog_s = _watchdog_s(environ)

    @property
    def is_heard(self) -> bool:
        return self._address is not None

    def ready(self, status: str) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1", f"STATUS={status}")

    def status(self, words: str) -> None:
        """One line for people, in `systemctl status`."""
        self._send(f"STATUS={words}")

    def starting(self, words: str, *, within_s: float) -> None:
        """The start goes on; the next message comes within `within_s`."""
        self._send(f"EXTEND_TIMEOUT_USEC={within_s * 1e6:.0f}", f"STATUS={words}")

    def ping_watchdog(self) -> None:
        """Call it after each piece of work; systemd gets at most four pings in a period of its watchdog."""
        if self.watchdog_s is None:
            return
        now_s = self._clock()
        if now_s - self._pinged_at_s >= self.watchdog_s / 4:
            self._pinged_at_s = now_s
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """`ready` ends the reload. systemd compares the time, CLOCK_MONOTONIC in µs, with that of its request."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, words: str) -> None:
        self._send("STOPPING=1", f"STATUS={words}")

    def _send(self, *assignments: str) -> None:
        if self._address is None:
            return
        message = "\n".join(" ".join(one.splitlines()) for one in assignments)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A supervisor that is busy must not block the service.
            sender.setblocking(False)
            sender.sendto(message.encode(), self._address)


def _address(name: str) -> bytes | None:
    """A path, or an abstract socket's name: systemd writes @ for the zero byte that such a name begins with."""
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    return os.fsencode(name) if name.startswith("/") else None


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """The period of the watchdog; None without one, or if it watches another process."""
    microseconds, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or process not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 1e6
