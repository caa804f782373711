"""Gives captures of a source to the compute thread: every capture, or only the newest."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from edge_runtime.sources.captured import Capture
from edge_runtime.sources.frames import Source

# How long the end of a run waits for a source that gives nothing.
_PATIENCE_S = 2.0
_END = object()


class Intake(Protocol):
    @property
    def is_over(self) -> bool:
        """Whether the source has ended and the last capture was taken."""

    def take(self, timeout_s: float) -> Capture | None:
        """The next capture; None if there is none within `timeout_s`, or no more. Raises what the source raises."""

    def close(self) -> None:
        """Takes nothing from the source any more."""


class _Rate:
    """When the next capture is due, by the monotonic clock; `rate_fps` may give another rate each time."""

    def __init__(self, rate_fps: Callable[[], float | None]) -> None:
        self._rate_fps = rate_fps
        self._due_at_s = time.monotonic()

    def wait_s(self, most_s: float) -> float:
        """How long to wait for the next capture, at most `most_s`."""
        return min(most_s, max(0.0, self._due_at_s - time.monotonic()))

    def step(self) -> None:
        """Counts a capture. After a delay of more than one period there is no burst to catch up."""
        rate_fps = self._rate_fps()
        if rate_fps is not None:
            self._due_at_s = max(self._due_at_s, time.monotonic() - 1 / rate_fps) + 1 / rate_fps


class Pulled:
    """Every capture, taken from the source when it is asked for and due."""

    def __init__(self, captures: Iterator[Capture | None], rate_fps: Callable[[], float | None]) -> None:
        self.is_over = False
        self._captures = captures
        self._rate = _Rate(rate_fps)

    def take(self, timeout_s: float) -> Capture | None:
        if (wait_s := self._rate.wait_s(timeout_s)) > 0:
            time.sleep(wait_s)
            if self._rate.wait_s(timeout_s) > 0:
                return None
        taken = next(self._captures, _END)
        if isinstance(taken, Capture):
            self._rate.step()
            return taken
        self.is_over = taken is _END
        return None

    def close(self) -> None:
        pass


class Newest:
    """The newest capture only: a thread of its own reads the source, at the rate if there is one. A capture that is not
    taken before the next one is lost; `on_lost` is called for each."""

    def __init__(
        self,
        captures: Iterator[Capture | None],
        rate_fps: Callable[[], float | None],
        *,
        is_live: bool,
        on_lost: Callable[[], None],
    ) -> None:
        self._captures = captures
        self._rate = _Rate(rate_fps)
        self._is_live = is_live
        self._on_lost = on_lost
        self._newest: Capture | None = None
        self._has_ended = False
        self._is_closed = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="edge-source", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return self._has_ended and self._newest is None and self._failure is None

    def take(self, timeout_s: float) -> Capture | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._has_ended, timeout_s)
            taken, self._newest = self._newest, None
            if taken is None and self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            return taken

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        try:
            while not self._is_closed:
                # A live source is read all the time: captures that its driver keeps would be old.
                if not self._is_live:
                    self._wait_until_due()
                taken = next(self._captures, _END)
                if taken is _END:
                    break
                if isinstance(taken, Capture) and self._rate.wait_s(1.0) == 0:
                    self._rate.step()
                    self._offer(taken)
        except Exception as failure:  # noqa: BLE001 - raised again by `take`, in the caller's thread
            self._failure = failure
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def _wait_until_due(self) -> None:
        with self._changed:
            while not self._is_closed and (wait_s := self._rate.wait_s(1.0)) > 0:
                self._changed.wait(wait_s)

    def _offer(self, taken: Capture) -> None:
        with self._changed:
            is_lost, self._newest = self._newest is not None, taken
            self._changed.notify_all()
        if is_lost and not self._is_closed:
            self._on_lost()


def of(
    source: Source,
    *,
    is_newest_only: bool,
    repeats: bool,
    rate_fps: Callable[[], float | None],
    on_lost: Callable[[], None],
) -> Intake:
    """`Newest` or `Pulled`: a source that is neither live nor paced is always pulled, for its captures are never
    old."""
    captures = source.awaited(repeats=repeats)
    if is_newest_only and (source.is_live or rate_fps() is not None):
        return Newest(captures, rate_fps, is_live=source.is_live, on_lost=on_lost)
    return Pulled(captures, rate_fps)
