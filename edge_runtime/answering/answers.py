"""What becomes of a frame once its head has run: whether the device answers it, and what is sent of it."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.messages import results
from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.answering.gate import Verdict
from edge_runtime.answering.hedging import Hedging
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.answering.own_answers import OwnAnswers
from edge_runtime.delivery.framing import Packed, Sending
from edge_runtime.delivery.observer import Answer, Observer, Why, refusal_of
from edge_runtime.delivery.routes import Route
from edge_runtime.delivery.settings import Settings
from edge_runtime.delivery.summary import Summary
from edge_runtime.exactness import Exactness
from edge_runtime.head import Head
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs

_STAYS = {Verdict.SURE: Why.SURE, Verdict.AUDITED: Why.SURE, Verdict.LIMITED: Why.LIMITED}


@dataclass(frozen=True, slots=True)
class Course:
    """`arrays` are what the frame carries, `sending` says as what. `found` are the model's outputs, None where they
    were not computed; `why` they are the frame's first answer, None where they are not."""

    sending: Sending
    arrays: tuple[Array, ...]
    found: tuple[Array, ...] | None
    why: Why | None
    rest_s: float = 0.0
    verdict: Verdict | None = None


class Answers:
    """The compute thread calls `course_of` and then `leaves`, the results thread `settled`. `moves_here` says
    that the cut may move to `output`."""

    def __init__(
        self,
        on_device: OnDevice | None,
        settings: Settings,
        summary: Summary,
        observers: Sequence[Observer],
        exactness: Exactness,
        *,
        moves_here: bool,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.on_device = on_device
        self._is_batched = settings.batch > 1  # whose results are the cloud's, one for each input
        self._gate = None if on_device is None else on_device.gate
        self._may_answer = moves_here or on_device is not None
        self._is_latest = settings.is_latest
        self._own = OwnAnswers(settings, summary, observers, exactness, are_asked_for=self._may_answer)
        self._hedging: Hedging | None = None
        if on_device is not None and on_device.hedges:
            max_age_s = settings.max_age_s if settings.is_latest else math.inf
            self._hedging = Hedging(on_device.rest, self._own, summary, max_age_s, on_failure)
        summary.gate = self._gate

    @property
    def end_latencies(self) -> bool:
        """Whether a frame's latency ends with the device's own answer, where that is the first."""
        return self._own.are_asked_for

    def open(self) -> None:
        if self._hedging is not None:
            self._hedging.open()

    def close(self) -> None:
        if self._hedging is not None:
            self._hedging.close()

    def follow(self, on_device: OnDevice | None) -> None:
        """The same of another package, on the compute thread."""
        self.on_device = on_device
        if self._hedging is not None and on_device is not None:
            self._hedging.follow(on_device.rest)

    def is_alone(self, transport: Transport, route: Route) -> bool:
        """Whether frames are answered here and nobody is told: with `latest`, while broker or cloud is away, what is
        made now will be too old to be published."""
        if not self._is_latest or not self._may_answer:
            return False
        is_away = transport.state is not ConnectionState.ONLINE
        return is_away or (self.on_device is not None and route.is_unheard)

    def judged(self, head: Head) -> Head:
        """The head whose results have to be exact: the whole model's where each frame may be answered here."""
        here = self.on_device
        if here is None or not (here.hedges or here.gate) or head.condition.runs_on not in (None, here.runs_on):
            return head
        return here.head

    def course_of(self, sending: Sending, boundary: tuple[Array, ...], *, is_alone: bool) -> Course:
        """Of a frame whose head gave that boundary. `is_alone` says that there is nobody to send it to."""
        if not sending.cut.tail.operators and not self._is_batched:
            return Course(sending, boundary, boundary, Why.AWAY if is_alone else Why.OUTPUT)
        here = self.on_device
        if here is None or (self._gate is None and not is_alone):
            return Course(sending, boundary, None, None)
        began_s = time.monotonic()
        found = here.rest(boundary, sending)
        now_s = time.monotonic()
        rest_s = now_s - began_s
        if self._gate is None:
            return Course(here.sending, found, found, Why.AWAY, rest_s)
        verdict = self._gate.judge(found, now_s, may_send=not is_alone)
        if verdict.is_sent:
            return Course(sending, boundary, found, _STAYS.get(verdict), rest_s, verdict)
        why = Why.AWAY if is_alone and verdict is Verdict.LIMITED else _STAYS[verdict]
        return Course(here.sending, found, found, why, rest_s, verdict)

    def leaves(self, course: Course, packed: Packed, *, is_sent: bool, overdue_at_s: float | None) -> None:
        """Before that frame is sent, or is not. Past `overdue_at_s` the device answers it too, where it hedges."""
        package = course.sending.package
        if course.verdict is Verdict.AUDITED and self._gate is not None and course.found is not None:
            label = outputs.of(package.manifest, course.found, package.manifest.outputs).label
            self._gate.audit(packed.key, label)
        if course.why is not None and course.found is not None:
            self._own.give(package, packed, course.found, course.why, is_sent=is_sent, rest_s=course.rest_s)
        elif self._hedging is not None and overdue_at_s is not None:
            self._hedging.expect(packed, course.sending, course.arrays, course.found, overdue_at_s)

    def settled(self, packed: Packed, answer: Answer) -> float | None:
        """A cloud answered that frame: how long the device's own answer took if it was the first, else None."""
        if self._hedging is not None:
            self._hedging.settled(packed.key, is_refused=refusal_of(answer) is not None)
        if self._gate is not None and isinstance(answer, results.Result):
            self._gate.settled(packed.key, answer.label)
        return self._own.settled(packed)
