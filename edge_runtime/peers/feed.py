"""The source's inputs on their way: each is held until its result was delivered, so that no machine takes it along."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from broker.messages.peers.parcels import Stamp
from edge_runtime.peers.settings import Settings
from edge_runtime.peers.summary import Summary
from edge_runtime.sources import intake
from edge_runtime.sources.captured import Capture
from edge_runtime.sources.frames import Source
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

_LOOK_S = 0.2


@dataclass(slots=True)
class Held:
    """An input without a result. `place` is its frame's in the epoch; None before it has one."""

    sequence: int
    arrays: tuple[Array, ...]
    captured_ns: int
    captured_at_s: float
    size: tuple[int, int] | None
    place: int | None = None


class Feed:
    """A thread of its own reads the source. `on_change` is called when there is another input, or none to come."""

    def __init__(self, source: Source, settings: Settings, summary: Summary, window: int) -> None:
        self.moved_at_s = time.monotonic()
        self._source = source
        self._settings = settings
        self._summary = summary
        self._window = window
        self._held: OrderedDict[int, Held] = OrderedDict()
        self._places = 0
        self._has_ended = self._is_stopping = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name="peer-source", daemon=True)
        self.on_change: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Takes no further input. Takes no lock: signal handlers may call it."""
        self._is_stopping = True

    @property
    def outstanding(self) -> int:
        return len(self._held)

    @property
    def is_over(self) -> bool:
        """Whether all inputs have their results. Raises what the source raised."""
        if self._failure is not None and not self._held:
            raise self._failure
        return self._has_ended and not self._held

    @property
    def has_ended(self) -> bool:
        """Whether no more inputs come."""
        return self._has_ended

    def next(self, run: int, epoch: int) -> tuple[Stamp, tuple[Array, ...]] | None:
        """The next input that has no place in the epoch yet, with its place; None where there is none."""
        with self._changed:
            held = next((each for each in self._held.values() if each.place is None), None)
            if held is None:
                return None
            held.place, self._places = self._places, self._places + 1
            return Stamp(run, epoch, held.place, held.sequence, held.captured_ns, held.size), held.arrays

    def begin_epoch(self) -> None:
        """All that is held is computed again."""
        with self._changed:
            self._summary.recomputed += sum(each.place is not None for each in self._held.values())
            for each in self._held.values():
                each.place = None
            self._places = 0
            self.moved_at_s = time.monotonic()

    def settle(self, sequence: int) -> None:
        """Its result was delivered."""
        with self._changed:
            held = self._held.pop(sequence, None)
            if held is None:
                return
            self.moved_at_s = time.monotonic()
            self._summary.answered += 1
            self._summary.latency_s.append(self.moved_at_s - held.captured_at_s)
            self._changed.notify_all()
        self.on_change()

    def close(self) -> None:
        self._is_stopping = True
        self._thread.join(_LOOK_S * 10)
        self._summary.unanswered = len(self._held)

    def _read(self) -> None:
        settings = self._settings
        try:
            captures = intake.of(
                self._source,
                is_newest_only=settings.is_latest,
                repeats=settings.count is not None,
                rate_fps=lambda: settings.rate_fps,
                on_lost=lambda: self._summary.drop("replaced"),
            )
            try:
                while not (self._is_stopping or captures.is_over or self._is_enough()):
                    if self._wait_for_room():
                        self._take(captures.take(_LOOK_S))
            finally:
                captures.close()
        except Exception as failure:  # noqa: BLE001 - raised again by `is_over`, in the caller's thread
            self._failure = failure
        self._has_ended = True
        self.on_change()

    def _is_enough(self) -> bool:
        return self._settings.count is not None and self._summary.inputs >= self._settings.count

    def _wait_for_room(self) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self._held) < self._window, _LOOK_S)

    def _take(self, taken: Capture | None) -> None:
        if taken is None:
            return
        arrays, size = self._source.convert(taken.raw), self._source.size_of(taken.raw)
        with self._changed:
            if not self._held:
                self.moved_at_s = time.monotonic()
            sequence = self._summary.inputs
            self._held[sequence] = Held(sequence, arrays, taken.captured_ns, taken.captured_at_s, size)
            self._summary.inputs += 1
        self.on_change()
