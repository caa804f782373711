"""What an edge does for its service manager: it pings the watchdog, reports a status line, and reloads on request.

The compute thread pings the watchdog after each frame that it processed; a timer would go on when a driver hangs. The
status line and reloading have a thread of their own.
"""

import logging
import threading
import time
from collections.abc import Callable

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


class Supervision:
    """A context around `Edge.run`. `reload` reads the configuration again and applies it; for a wrong configuration it
    raises and changes nothing."""

    def __init__(
        self,
        edge: Edge,
        transport: Transport,
        notifier: Notifier,
        reload: Callable[[], None],
        *,
        period_s: float = _PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._edge = edge
        self._transport = transport
        self._notifier = notifier
        self._reload = reload
        self._period_s = period_s
        self._clock = clock
        self._counted = (clock(), edge.summary.frames)
        self._rate_fps = 0.0
        self._is_over = False
        self._is_reload_asked = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edge-supervision", daemon=True)

    def __enter__(self) -> "Supervision":
        self._notifier.ready(self.state())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._woken.set()
        self._thread.join()
        self._notifier.stopping(f"stopping: {text.counted(self._edge.summary.results, 'result')}")

    def ask_to_reload(self) -> None:
        """For a signal handler, which must be removed before the context ends."""
        self._is_reload_asked = True
        self._woken.set()

    def state(self) -> str:
        """One line for people: connection, frame rate, counters, accelerator and temperature."""
        edge, summary = self._edge, self._edge.summary
        (before_s, before), now_s = self._counted, self._clock()
        if now_s - before_s >= self._period_s / 2:  # over a shorter time, as at a reload, it would say nothing
            self._counted = (now_s, summary.frames)
            self._rate_fps = (summary.frames - before) / (now_s - before_s)
        words = [
            "connected" if self._transport.state is ConnectionState.ONLINE else "waiting for the broker",
            f"{self._rate_fps:.1f} frames/s",
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

    def _run(self) -> None:
        while not self._is_over:
            self._woken.wait(self._period_s)
            self._woken.clear()
            if self._is_reload_asked:
                self._is_reload_asked = False
                self._reload_now()
            if self._transport.state is ConnectionState.CLOSED:
                self._edge.stop()  # the broker refuses us for good; the command reports it when the edge has ended
            self._notifier.status(self.state())

    def _reload_now(self) -> None:
        self._notifier.reloading()
        try:
            self._reload()
        except errors.ConfigurationError as refused:
            for problem in refused.problems:
                log.error("configuration refused, the old one stays reason=%s", problem)
        except errors.TflsplitError as refused:
            log.error("configuration refused, the old one stays reason=%s", refused)
        self._notifier.ready(self.state())
