"""Answers that the device gave itself: told to observers at once, and remembered until the cloud's comes, so that the
first answer to a frame is the one that counts.
"""

import threading
import time
from collections import OrderedDict
from typing import NamedTuple

from broker.messages import results
from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.observer import Answer, OwnAnswer, Why
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.window import Key
from edge_runtime.exactness import Exactness
from tflsplit.graph.tensors import Array
from tflsplit.kernels.heads import Standing
from tflsplit.package import outputs
from tflsplit.package.reading import Package

# A day of frames may wait in a spool; of those at the cut `output` the cut alone tells that they were answered.
_MOST_KEPT = 1 << 16
_IS_EXACT = {Standing.EXACT: True, Standing.INEXACT: False}


class Timed(NamedTuple):
    """From capture to an answer of the device, for each input of its frame, `rest_s` of it after the head; `is_sent` as
    in `OwnAnswer`."""

    latencies_s: tuple[float, ...]
    rest_s: float
    is_sent: bool


class OwnAnswers:
    """Any thread may call anything. With `are_asked_for` the device's answer ends a frame's latency; without, at an
    edge that is planned to compute everything, the frame counts once a reader of results has it."""

    def __init__(self, run: Run, exactness: Exactness, *, are_asked_for: bool) -> None:
        self.are_asked_for = are_asked_for
        self._settings, self._summary, self._observers = run.settings, run.summary, run.observers
        self._exactness = exactness
        self._given: OrderedDict[Key, float] = OrderedDict()
        self._counting = threading.Lock()

    def count(self, packed: Packed, *, is_sent: bool) -> tuple[float, ...]:
        """The device's answer to that frame is the first one: the latency of each input. Then it is told."""
        now_s = time.monotonic()
        first_s = now_s - (packed.captured_at_s or now_s)
        latencies_s = tuple(first_s - packed.later_s(place) for place in range(packed.inputs))
        with self._counting:
            self._summary.answered_here += 1
            for place, latency_s in enumerate(latencies_s):
                if self.are_asked_for or not is_sent:
                    self._summary.add_latency(latency_s=latency_s, head_s=packed.head_s, tail_s=None)
                if is_sent:
                    self._given[packed.boot, packed.sequence + place] = latency_s
                    if len(self._given) > _MOST_KEPT:
                        self._given.popitem(last=False)
        return latencies_s

    def dropped(self, packed: Packed) -> None:
        """That frame was not sent after all."""
        with self._counting:
            for place in range(packed.inputs):
                own_s = self._given.pop((packed.boot, packed.sequence + place), None)
                if own_s is not None and not self.are_asked_for:
                    self._summary.add_latency(latency_s=own_s, head_s=packed.head_s, tail_s=None)

    def tell(self, package: Package, packed: Packed, found: tuple[Array, ...], why: Why, timed: Timed) -> None:
        """Of each of its inputs; `found` are the model's stored outputs."""
        for place, latency_s in enumerate(timed.latencies_s):
            own = found if packed.inputs == 1 else tuple(rows[place : place + 1] for rows in found)
            made = OwnAnswer(
                self._result(package, packed, place, own, timed.rest_s),
                *(why, packed.cut, packed.captures_ns[place], packed.head_s, latency_s),
                is_sent=timed.is_sent,
            )
            for observer in self._observers:
                observer.answered(made)

    def settled(self, packed: Packed, answer: Answer) -> float | None:
        """The cloud's answer came: how long ours took if it was before that; None if it was not. One that is not of one
        of several inputs is of them all."""
        is_of_one = isinstance(answer, results.Result) and answer.first is not None
        first = (answer.sequence or 0) if is_of_one else packed.sequence
        with self._counting:
            own_s = self._given.pop((packed.boot, first), None)
            for later in () if is_of_one else range(1, packed.inputs):
                self._given.pop((packed.boot, first + later), None)
        if own_s is None and packed.boot == self._settings.boot and packed.cut == results.WHOLE:
            return packed.head_s
        return own_s

    def _result(
        self, package: Package, packed: Packed, place: int, found: tuple[Array, ...], rest_s: float
    ) -> results.Result:
        manifest, now_ms = package.manifest, time.time() * 1e3
        (source,) = packed.sizes[place : place + 1] or (None,)
        captured_ms = packed.captures_ns[place] / 1e6
        answer = outputs.of(manifest, found, manifest.outputs, source=source)
        return results.Result(
            self._settings.device,
            packed.boot,
            packed.sequence + place,
            results.WHOLE,
            packed.package,
            results.Times(captured_ms, packed.head_s * 1e3, now_ms, 0.0, 0.0, rest_s * 1e3, now_ms),
            top=tuple(results.Score(label, score) for label, score in answer.top),
            values=answer.values,
            found=answer.found,
            first=packed.sequence if packed.inputs > 1 else None,
            is_exact=False if manifest.float_tails else _IS_EXACT.get(self._exactness.standing),
        )
