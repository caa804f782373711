"""What becomes of a frame once its head has run: whether the device answers it, and what is sent of it."""

import itertools
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from broker.messages import results
from broker.transport.protocol import ConnectionState
from edge_runtime.answering.gate import Verdict
from edge_runtime.answering.own_answers import OwnAnswers, Timed
from edge_runtime.delivery.framing import Packed, Sending
from edge_runtime.delivery.observer import Answer, Why, refusal_of
from edge_runtime.delivery.routes import Route
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.window import Key
from edge_runtime.exactness import Exactness
from edge_runtime.head import Head
from edge_runtime.sources.captured import Capture
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # a device that answers nothing itself starts without them
    from edge_runtime.answering.hedging import Hedging
    from edge_runtime.answering.on_device import OnDevice

_STAYS = {Verdict.SURE: Why.SURE, Verdict.AUDITED: Why.SURE, Verdict.LIMITED: Why.LIMITED}


@dataclass(slots=True)
class Course:
    """A frame of those of the inputs whose `places` these are: `arrays` are what it carries, `sending` says as what.
    `found` are the model's outputs, None where they were not computed; `why` they are the frame's first answer, None
    where they are not."""

    places: range
    sending: Sending
    arrays: tuple[Array, ...]
    found: tuple[Array, ...] | None
    why: Why | None
    rest_s: float = 0.0
    verdict: Verdict | None = None

    def pack(
        self,
        batch: Sequence[Capture],
        key: Key,
        sizes_of: Callable[[Sequence[Any]], tuple[tuple[int, int], ...]],
        **about: Any,
    ) -> Packed:
        """Its frame, of the inputs that the head ran on; `key` is the first one's. What it is `about` is as in
        `Sending.pack`."""
        taken = batch[self.places.start : self.places.stop]
        return self.sending.pack(
            self.arrays,
            key=(key[0], key[1] + self.places.start),
            captured_ns=taken[0].captured_ns,
            captured_at_s=taken[0].captured_at_s,
            later_ns=tuple(each.captured_ns for each in taken[1:]),
            sizes=sizes_of([each.raw for each in taken]),
            **about,
        )


class Answers:
    """The compute thread calls `courses_of` and then `leaves`, the results thread `settled`. `moves_here` says
    that the cut may move to `output`."""

    def __init__(self, run: Run, on_device: "OnDevice | None", exactness: Exactness, *, moves_here: bool) -> None:
        self._transport = run.transport
        self.on_device = on_device
        self._gate = None if on_device is None else on_device.gate
        self._may_answer = moves_here or on_device is not None
        self._is_latest = run.settings.is_latest
        self._own = OwnAnswers(run, exactness, are_asked_for=self._may_answer)
        self._hedging: Hedging | None = None
        if on_device is not None and on_device.hedges:
            from edge_runtime.answering import hedging

            self._hedging = hedging.Hedging(run, self._own, on_device.rest)
        run.summary.gate = self._gate

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

    def follow(self, on_device: "OnDevice | None") -> None:
        """The same of another package, on the compute thread."""
        self.on_device = on_device
        if self._hedging is not None and on_device is not None:
            self._hedging.follow(on_device.rest)

    def is_alone(self, route: Route) -> bool:
        """Whether frames are answered here and nobody is told: with `latest`, while broker or cloud is away, what is
        made now will be too old to be published."""
        if not self._is_latest or not self._may_answer:
            return False
        is_away = self._transport.state is not ConnectionState.ONLINE
        return is_away or (self.on_device is not None and route.is_unheard)

    def judged(self, head: Head) -> Head:
        """The head whose results have to be exact: the whole model's where each frame may be answered here."""
        here = self.on_device
        if here is None or not (here.hedges or here.gate) or head.condition.runs_on not in (None, here.runs_on):
            return head
        return here.head

    def courses_of(self, sending: Sending, boundary: tuple[Array, ...], inputs: int, *, is_alone: bool) -> list[Course]:
        """Of so many inputs for which the head gave that boundary: one frame, or where a gate judges them otherwise one
        for each that follow one another with the same verdict. `is_alone` says that there is nobody to send it to."""
        every = range(inputs)
        if not sending.cut.tail.operators:
            return [Course(every, sending, boundary, boundary, Why.AWAY if is_alone else Why.OUTPUT)]
        here = self.on_device
        if here is None or (self._gate is None and not is_alone):
            return [Course(every, sending, boundary, None, None)]
        began_s = time.monotonic()
        found = here.rest(boundary, sending)
        now_s = time.monotonic()
        rest_s = now_s - began_s
        if self._gate is None:
            return [Course(every, here.sending, found, found, Why.AWAY, rest_s)]
        may_send = not is_alone
        verdicts = [
            self._gate.judge(_rows(found, range(place, place + 1), inputs), now_s, may_send=may_send) for place in every
        ]
        courses = []
        for verdict, alike in itertools.groupby(every, verdicts.__getitem__):
            place, *later = alike
            places = range(place, place + 1 + len(later))
            carried, ours = _rows(boundary, places, inputs), _rows(found, places, inputs)
            if verdict.is_sent:
                courses.append(Course(places, sending, carried, ours, _STAYS.get(verdict), rest_s, verdict))
            else:
                why = Why.AWAY if is_alone and verdict is Verdict.LIMITED else _STAYS[verdict]
                courses.append(Course(places, here.sending, ours, ours, why, rest_s, verdict))
        return courses

    def leaves(self, course: Course, packed: Packed, route: Route | None, *, overdue_at_s: float | None) -> bool:
        """Whether the route took that frame; without one it stays here. Past `overdue_at_s` the device answers it too,
        where it hedges."""
        found, why, package = course.found, course.why, course.sending.package
        if course.verdict is Verdict.AUDITED and self._gate is not None and found is not None:
            for place in range(packed.inputs):
                own = _rows(found, range(place, place + 1), packed.inputs)
                label = outputs.of(package.manifest, own, package.manifest.outputs).label
                self._gate.audit((packed.boot, packed.sequence + place), label)
        is_own, may_drop = why is not None and found is not None, route is not None and route.may_drop
        latencies_s = self._own.count(packed, is_sent=route is not None) if is_own else ()

        def tell(*, is_sent: bool) -> None:
            if why is not None and found is not None:
                self._own.tell(package, packed, found, why, Timed(latencies_s, course.rest_s, is_sent=is_sent))

        if not may_drop:  # else it is not known yet whether it is sent
            tell(is_sent=route is not None)
        if not is_own and self._hedging is not None and overdue_at_s is not None:
            self._hedging.expect(packed, course.sending, course.arrays, found, overdue_at_s)
        is_taken = route is not None and route.accept(packed)
        if route is not None and not is_taken:
            self._dropped(packed)
        if may_drop:
            tell(is_sent=is_taken)
        return is_taken

    def _dropped(self, packed: Packed) -> None:
        """No answer of a cloud will come, and a hedge waits for none."""
        self._own.dropped(packed)
        if self._gate is not None:
            for place in range(packed.inputs):
                self._gate.dropped((packed.boot, packed.sequence + place))
        if self._hedging is not None:
            self._hedging.settled(packed.key, is_refused=True)

    def settled(self, packed: Packed, answer: Answer) -> float | None:
        """A cloud answered that frame: how long the device's own answer took if it was the first, else None."""
        if self._hedging is not None:
            self._hedging.settled(packed.key, is_refused=refusal_of(answer) is not None)
        if self._gate is not None and isinstance(answer, results.Result):
            sequence = packed.sequence if answer.first is None else answer.sequence
            self._gate.settled((packed.boot, sequence), answer.label)
        return self._own.settled(packed, answer)


def _rows(arrays: tuple[Array, ...], places: range, inputs: int) -> tuple[Array, ...]:
    """Of some of so many inputs."""
    return arrays if len(places) == inputs else tuple(each[places.start : places.stop] for each in arrays)
