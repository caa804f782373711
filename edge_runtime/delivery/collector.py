"""Handles the answers that arrive: each settles one frame, is counted, and is passed to the observers."""

import logging
import time
from collections.abc import Callable

from broker.messages import acks, results
from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.observer import Answer, Settled, refusal_of
from edge_runtime.delivery.routes import Route
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.settings import Until
from edge_runtime.delivery.window import Key, Outstanding, Refusal
from tflsplit import errors

log = logging.getLogger(__name__)


class Collector:
    """For the results thread. `own_s` says how long the device's own answer to a frame took, if it came first, and
    `own_ends_latency` that this is the frame's; `answered_at_s` is when the last answer came, by `time.monotonic`."""

    def __init__(
        self, run: Run, route: Route, own_s: Callable[[Packed, Answer], float | None], *, own_ends_latency: bool
    ) -> None:
        self.answered_at_s = time.monotonic()
        self._run, self._summary, self._observers = run, run.summary, run.observers
        self._route = route
        self._parse = acks.parse if run.settings.until is Until.ACK else results.parse
        self._own_s = own_s
        self._own_ends_latency = own_ends_latency

    def take(self, payload: bytes) -> None:
        arrived_at_s, arrived_ns = time.monotonic(), time.time_ns()
        try:
            answer: Answer = self._parse(payload)
        except errors.FrameError as problem:
            self._summary.drop("bad_result")
            log.warning("answer dropped reason=%s", problem)
            return
        if answer.boot is None or answer.sequence is None:
            # A cloud could not read whose frame it was; that frame stays unanswered, and is sent again.
            self._summary.drop("refusal_of_a_damaged_frame")
            return
        if not self._run.owns(answer.boot):
            self._summary.drop(results.ANOTHER_RUN)
            return
        key = (answer.boot, answer.sequence)
        if not isinstance(answer, results.Result) and self._may_come_yet(answer, key, arrived_at_s):
            return
        self.answered_at_s = arrived_at_s
        first = answer.first if isinstance(answer, results.Result) else None
        if first is None:
            sent = self._route.settle(key, arrived_at_s)
        else:
            sent = self._route.settle((answer.boot, first), arrived_at_s, answer.sequence)
        if sent is None:
            self._summary.duplicates += 1
            return
        self._tell(answer, sent, arrived_at_s, arrived_ns)

    def _may_come_yet(self, answer: Refusal, key: Key, arrived_at_s: float) -> bool:
        """Whether a refusal settles nothing: the frame, sent again or by another cloud, may have its result."""
        if answer.is_busy:
            self._summary.busy += 1
            self._route.busy(key)
            return True
        if answer.is_of_package:
            if not self._route.refuse(key, answer, arrived_at_s):
                self._summary.duplicates += 1
            return True
        is_early = answer.is_of_state and self._route.missed(key)
        self._summary.early += is_early
        return is_early

    def tend(self, now_s: float) -> None:
        """Called regularly: counts what was refused, and no other cloud has answered."""
        for sent in self._route.refused(now_s):
            if sent.refusal is not None:
                self._tell(sent.refusal, sent, sent.refused_at_s, time.time_ns())

    def _tell(self, answer: Answer, sent: Outstanding, arrived_at_s: float, arrived_ns: int) -> None:
        # Of a frame that another process captured no clock tells how old it is: the machine's may have been set.
        packed, place, latency_s = sent.packed, _place(answer, sent), None
        captured_ns = packed.captures_ns[place]
        if packed.captured_at_s is not None:
            latency_s = arrived_at_s - packed.captured_at_s - (captured_ns - packed.captured_ns) / 1e9
        own_s = self._own_s(packed, answer)
        self._count(answer, sent, latency_s, own_s)
        settled = Settled(
            boot=packed.boot,
            sequence=packed.sequence + place,
            package=packed.package,
            cut=packed.cut,
            answer=answer,
            captured_ns=captured_ns,
            head_s=packed.head_s,
            published_ns=sent.published_ns,
            arrived_ns=arrived_ns,
            latency_s=latency_s,
            sendings=sent.sendings,
            away_s=arrived_at_s - sent.sent_at_s,
            own_s=own_s,
        )
        for observer in self._observers:
            observer.settled(settled)

    def _count(self, answer: Answer, sent: Outstanding, latency_s: float | None, own_s: float | None) -> None:
        summary, refusal = self._summary, refusal_of(answer)
        if refusal is not None:
            summary.refused += 1
            if refusal != summary.refusal:
                log.error("frames refused first_sequence=%d reason=%s", sent.packed.sequence, refusal)
            summary.refusal = summary.refusing = refusal
            return
        # A frame of several inputs counts once, with the answer to the last of them.
        summary.results += not sent.answered or sent.is_answered
        summary.refusing = None
        if latency_s is None:
            summary.untimed += 1
        if latency_s is None or (own_s is not None and self._own_ends_latency):
            return
        tail_s = answer.times.tail_ms / 1000 if isinstance(answer, results.Result) else None
        summary.add_latency(latency_s=latency_s, head_s=sent.packed.head_s, tail_s=tail_s)


def _place(answer: Answer, sent: Outstanding) -> int:
    """Which input of the frame was answered; the first one stands for all."""
    is_of_one = isinstance(answer, results.Result) and answer.first is not None
    return (answer.sequence or 0) - sent.packed.sequence if is_of_one else 0
