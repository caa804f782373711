"""Hedging: an overdue answer is computed on the device too, from the boundary that it has, and the first one counts.

A thread of its own computes: the one of the heads may be busy with the next frame, or wait for room. The frame stays on
its way: readers of results get the cloud's answer, once, as of any frame.
"""

import math
import threading
import time
from collections.abc import Callable

from edge_runtime.answering.own_answers import OwnAnswers, Timed
from edge_runtime.delivery.framing import Packed, Sending
from edge_runtime.delivery.observer import Why
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.window import MAX_BYTES, Key
from tflsplit.graph import tensors
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass, replace

Rest = Callable[[tuple[Array, ...], Sending], tuple[Array, ...]]


@dataclass(slots=True)
class _Awaited:
    """A frame whose answer is not here; `found` are the outputs where they are known already."""

    packed: Packed
    sending: Sending
    boundary: tuple[Array, ...]
    found: tuple[Array, ...] | None
    due_at_s: float
    is_refused: bool = False

    @property
    def bytes(self) -> int:
        return tensors.payload_bytes(self.sending.boundary) * self.packed.inputs


class Hedging:
    """The compute thread calls `expect`, the results thread `settled`. With delivery `latest` answers later than its
    `max_age_s` are of no use.

    Boundaries of as many bytes are kept as a window holds; of frames beyond that the cloud's answer is awaited alone.
    """

    def __init__(self, run: Run, own: OwnAnswers, rest: Rest) -> None:
        self._summary, self._on_failure = run.summary, run.fail
        self._own = own
        self._rest = rest
        self._max_age_s = run.settings.max_age_s if run.settings.is_latest else math.inf
        self._awaited: dict[Key, _Awaited] = {}
        self._bytes = 0
        self._is_computing = False
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="edge-hedge", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends with what is overdue now."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()

    def expect(
        self,
        packed: Packed,
        sending: Sending,
        boundary: tuple[Array, ...],
        found: tuple[Array, ...] | None,
        due_at_s: float,
    ) -> None:
        """Before that frame is sent."""
        frame = _Awaited(replace(packed, encoded=b""), sending, boundary, found, due_at_s)
        with self._changed:
            if self._bytes + frame.bytes > MAX_BYTES:
                self._summary.hedge_left_out += 1
                return
            self._awaited[packed.key] = frame
            self._bytes += frame.bytes
            self._changed.notify_all()

    def follow(self, rest: Rest) -> None:
        """Another package serves: what was to be hedged of the one before is the cloud's alone. Returns once nothing
        is computed by that any more."""
        with self._changed:
            self._summary.hedge_left_out += len(self._awaited)
            for frame in list(self._awaited.values()):
                self._forget(frame)
            self._changed.wait_for(lambda: not self._is_computing)
            self._rest = rest

    def settled(self, key: Key, *, is_refused: bool) -> None:
        """A cloud answered that frame; of several inputs the others' answers come with the first one's. A refusal is no
        answer: then ours is wanted at once."""
        with self._changed:
            frame = self._awaited.get(key)
            if frame is None:
                return
            if is_refused:
                frame.is_refused, frame.due_at_s = True, -1.0
                self._changed.notify_all()
            else:
                self._forget(frame)

    def _run(self) -> None:
        try:
            while (frame := self._next()) is not None:
                self._answer(frame)
        except Exception as failure:  # noqa: BLE001 - raised again by the edge's `run`, in the caller's thread
            self._on_failure(failure)
            with self._changed:
                self._is_computing = False
                self._changed.notify_all()

    def _next(self) -> _Awaited | None:
        """The frame that is overdue for longest, waiting for one; None at the end."""
        with self._changed:
            while True:
                first = min(self._awaited.values(), key=lambda frame: frame.due_at_s, default=None)
                now_s = time.monotonic()
                if first is not None and first.due_at_s <= now_s:
                    if not self._is_old(first, now_s):
                        self._is_computing = True
                        return first
                    self._forget(first)
                elif self._is_over:
                    return None
                else:
                    self._changed.wait(None if first is None else first.due_at_s - now_s)

    def _answer(self, frame: _Awaited) -> None:
        began_s, found = time.monotonic(), frame.found
        if found is None:
            found = self._rest(frame.boundary, frame.sending)
        rest_s = time.monotonic() - began_s
        with self._changed:
            self._is_computing = False
            self._changed.notify_all()
            self._summary.hedged += 1
            is_first = frame.packed.key in self._awaited and not self._is_old(frame, time.monotonic())
            self._forget(frame)
            if not is_first:
                return
            self._summary.hedged_first += 1
            latencies_s = self._own.count(frame.packed, is_sent=not frame.is_refused)
        timed = Timed(latencies_s, rest_s, is_sent=not frame.is_refused)
        self._own.tell(frame.sending.package, frame.packed, found, Why.OVERDUE, timed)

    def _is_old(self, frame: _Awaited, now_s: float) -> bool:
        return frame.packed.captured_at_s is not None and now_s - frame.packed.captured_at_s > self._max_age_s

    def _forget(self, frame: _Awaited) -> None:
        if self._awaited.pop(frame.packed.key, None) is not None:
            self._bytes -= frame.bytes
