"""What an edge or a cloud does for its service manager: it pings the watchdog, reports a status line, and reloads.

The compute thread pings the watchdog after each frame that it processed; a timer would go on when a driver hangs. The
status line and reloading have a thread of their own.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.delivery.observer import OwnAnswer, Settled
from edge_runtime.loop import Edge
from edge_runtime.machine.environment import temperature_c
from edge_runtime.service.notify import Notifier
from tflsplit import errors, text

log = logging.getLogger(__name__)

# How old the status line may be; systemd keeps the last one.
_PERIOD_S = 3.0


class Watchdog:
    """An `edge_runtime.delivery.observer.Observer` that pings systemd's watchdog after each frame."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    def alive(self) -> None:
        self._notifier.ping_watchdog()

    def settled(self, settled: Settled) -> None:
        """An answer is no sign that frames are computed."""

    def answered(self, own: OwnAnswer) -> None:
        """Nor is one that another thread computes."""


class Served(Protocol):
    """What runs as a service: an edge, or a cloud."""

    def state(self) -> str:
        """One line for people."""

    def parting(self) -> str:
        """The last one."""

    def is_refused(self) -> bool:
        """Whether the broker refuses it for good."""

    def stop(self) -> None: ...


class EdgeState:
    """An edge, and the connection that it runs over."""

    def __init__(self, edge: Edge, transport: Transport, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._edge = edge
        self._transport = transport
        self._rate = Rate(clock)
        self.stop = edge.stop

    def is_refused(self) -> bool:
        return self._transport.state is ConnectionState.CLOSED

    def parting(self) -> str:
        return text.counted(self._edge.summary.results, "result")

    def state(self) -> str:
        """Connection, frame rate, counters, accelerator and temperature."""
        edge, summary = self._edge, self._edge.summary
        words = [
            "connected" if self._transport.state is ConnectionState.ONLINE else "waiting for the broker",
            f"{self._rate.of(summary.frames):.1f} frames/s",
            text.counted(summary.results, "result"),
            f"{summary.unanswered} waiting",
            self._accelerator(),
        ]
        if summary.refused:
            words.append(f"{summary.refused} refused")
        if lost := sum(summary.dropped.values()):
            words.append(f"{lost} dropped")
        if heat := temperature_c():
            words.append(f"{heat} °C")
        return ("stopping: " if edge.is_stopping else "") + ", ".join(words)

    def _accelerator(self) -> str:
        condition = self._edge.condition
        runs_on = condition.runs_on or "nothing"
        return f"head on {runs_on}" + (f" ({condition.reason})" if condition.reason else "")


class Rate:
    """How much a count grows in a second, between two looks that are far enough apart to say so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counted = (clock(), 0)
        self._rate = 0.0

    def of(self, count: int) -> float:
        (before_s, before), now_s = self._counted, self._clock()
        if now_s - before_s >= _PERIOD_S / 2:  # over a shorter time, as at a reload, it would say nothing
            self._counted = (now_s, count)
            self._rate = (count - before) / (now_s - before_s)
        return self._rate


class Supervision:
    """A context around what runs. `reload` reads the configuration again and applies it; for a wrong configuration it
    raises and changes nothing."""

    def __init__(self, served: Served, notifier: Notifier, reload: Callable[[], None]) -> None:
        self._served = served
        self._notifier = notifier
        self._reload = reload
        self._is_over = False
        self._is_reload_asked = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervision", daemon=True)

    def __enter__(self) -> "Supervision":
        self._notifier.ready(self._served.state())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._woken.set()
        self._thread.join()
        self._notifier.stopping(f"stopping: {self._served.parting()}")

    def ask_to_reload(self) -> None:
        """For a signal handler, which must be removed before the context ends."""
        self._is_reload_asked = True
        self._woken.set()

    def _run(self) -> None:
        while not self._is_over:
            self._woken.wait(_PERIOD_S)
            self._woken.clear()
            if self._is_reload_asked:
                self._is_reload_asked = False
                self._reload_now()
            if self._served.is_refused():
                self._served.stop()  # the command reports it when all has ended
            self._notifier.status(self._served.state())

    def _reload_now(self) -> None:
        self._notifier.reloading()
        try:
            self._reload()
        except errors.ConfigurationError as refused:
            for problem in refused.problems:
                log.error("configuration refused, the old one stays reason=%s", problem)
        except errors.TflsplitError as refused:
            log.error("configuration refused, the old one stays reason=%s", refused)
        self._notifier.ready(self._served.state())
