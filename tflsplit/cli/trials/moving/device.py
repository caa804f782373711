"""The device of a trial: a process with an edge whose heads are all open, and any policy that picks among them.

    python -m tflsplit.cli.trials.moving.device TASK.json

Frames come at the ticks of a camera, the next one once the last is answered. What `output` answers stays here, as it
does in model time, and so does the answer to a frame that is hedged.
"""

import contextlib
import itertools
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from broker.messages import results, wire
from broker.mqtt import transport
from broker.transport.protocol import Transport
from edge_runtime import loop
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.adapting.candidates import Candidate
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.delivery.clouds import Clouds
from edge_runtime.delivery.framing import Packed, Sending
from edge_runtime.delivery.observer import OwnAnswer, Settled
from edge_runtime.delivery.settings import Settings
from edge_runtime.head import Head
from edge_runtime.sources import frames
from edge_runtime.sources.captured import Capture
from edge_runtime.sources.frames import Source
from tflsplit import errors
from tflsplit.cli.trials.moving import task as tasks
from tflsplit.cli.trials.moving.task import MOST_INPUTS, Frame, Task, Told
from tflsplit.graph.tensors import Array
from tflsplit.package import outputs, reading
from tflsplit.package.reading import Package
from tflsplit.planning import network
from tflsplit.switching import comparison, rivals
from tflsplit.switching.choices import Choice, Present, latency_s
from tflsplit.switching.controller import Controller, Switch, Tuning
from tflsplit.switching.goal import Goal, Wish
from tflsplit.switching.policy import Answer, Policy, Probing
from tflsplit.values.classes import dataclass, replace

# Nothing is sent twice, for answers may take as long as a link is dead; that long the end waits for the last one.
_PATIENCE_S = 300.0
# How long all clouds may take to open the tails.
_TAILS_S = 60.0
_LOOK_S = 0.01
_PATIENT_S = 0.2
# Frames that are answered here stay on their way to the cloud, as many as the link holds up.
_MOST_OUT = 4096


class Foreign(Controller):
    """Another policy in our controller's place: it picks and learns, and what is measured is still known here."""

    def __init__(self, policy: Policy, choices: Sequence[Choice], usual: Present) -> None:
        super().__init__(choices, usual, Goal(), Tuning(probing=policy.probing))
        self._policy = policy
        self._at: str | None = None

    def learn(self, now_s: float, answer: Answer) -> None:
        super().learn(now_s, answer)
        self._policy.learn(now_s, answer)

    def pick(self, now_s: float) -> Choice:
        found = self._policy.pick(now_s)
        if self._at not in (None, found.id):
            self.switches.append(Switch(now_s, str(self._at), found.id, "policy"))
        self._at = found.id
        return found


def _rest(worked_s: float, slow_edge: float) -> float:
    """A slow device rests after its work, so many times as long as that took of the processor: what else this machine
    is busy with does not slow it down so many times. Returns how long."""
    rest_s = worked_s * max(0.0, slow_edge - 1)
    time.sleep(rest_s)
    return rest_s


@dataclass(frozen=True, slots=True)
class SlowOnDevice(OnDevice):
    slow_edge: float = 1.0

    def rest(self, boundary: tuple[Array, ...], sending: Sending) -> tuple[Array, ...]:
        began_s = time.thread_time()
        found = OnDevice.rest(self, boundary, sending)
        _rest(time.thread_time() - began_s, self.slow_edge)
        return found


class Mover(adaptation.Adaptation):
    """Writes down each frame; a slow device rests after each."""

    def __init__(
        self,
        opened: Sequence[Candidate],
        controller: Controller,
        start: str,
        slow_edge: float,
        on_device: OnDevice | None = None,
    ) -> None:
        super().__init__(opened, controller, start, on_device=on_device)
        self.here: list[Frame] = []
        self.out: dict[int, Frame] = {}  # by sequence, until it is answered
        self._answered = threading.Condition()
        self.check_here: Callable[[Packed], None] = lambda packed: None
        self.starts_s = math.inf
        self._slow_edge = slow_edge
        self._worked_s = 0.0
        self._announced = Clouds()

    def attach(self, transport: Transport, settings: Settings, clouds: Clouds, allows: adaptation.Allows) -> None:
        super().attach(transport, settings, clouds, allows)
        self._announced = clouds

    def pick(self) -> tuple[Sending, Head]:
        self._worked_s = time.thread_time()
        return super().pick()

    def keeps(self, packed: Packed) -> bool:
        """So that an answer from here takes no room."""
        return packed.cut == results.WHOLE

    @property
    def is_ready(self) -> bool:
        """Whether every cloud has said that all tails are open."""
        wanted = {name for name, each in self._by_id.items() if not each.choice.is_local}
        return wanted <= self._announced.ready(self._now.sending.package.digest)

    def sent(self, packed: Packed, edge_s: float) -> None:
        edge_s += _rest(time.thread_time() - self._worked_s, self._slow_edge)
        super().sent(packed, edge_s)
        captured_at_s = packed.captured_at_s or 0.0
        taken_s = captured_at_s - self.starts_s
        if packed.cut == results.WHOLE:
            self.here.append(Frame(taken_s, packed.cut, 0.0, time.monotonic() - captured_at_s, edge_s))
            self.check_here(packed)
        else:
            wire_bytes = network.wire_bytes(len(packed.encoded))
            self.out[packed.sequence] = Frame(taken_s, packed.cut, wire_bytes, math.nan, edge_s)

    def end(self, sequence: int) -> Frame | None:
        """A frame that is answered; None if it was before."""
        with self._answered:
            self._answered.notify_all()
            return self.out.pop(sequence, None)

    def wait(self, timeout_s: float) -> bool:
        """Whether every frame is answered, waiting up to `timeout_s`."""
        with self._answered:
            return self._answered.wait_for(lambda: not self.out, timeout_s)


class Camera(Source):
    """Gives an input of `source` at each tick that finds the device free, which `wait` says within a time. `begin`
    waits until the trace begins, and says when."""

    def __init__(
        self, source: Source, fps: float, seconds: float, begin: Callable[[], float], wait: Callable[[float], bool]
    ) -> None:
        super().__init__(self._ticks, source.convert, is_live=False)
        self._raws = [taken.raw for taken in itertools.islice(source.captures(), MOST_INPUTS)]
        self._fps = fps
        self._seconds = seconds
        self._begin = begin
        self._wait = wait

    def _ticks(self) -> Iterator[Capture | None]:
        starts_s = self._begin()
        raws, tick = itertools.cycle(self._raws), 0
        while tick / self._fps < self._seconds:
            due_s = starts_s + tick / self._fps
            time.sleep(max(0.0, due_s - time.monotonic()))
            yield Capture(next(raws), time.time_ns(), due_s)
            while not self._wait(_PATIENT_S):
                yield None  # so that the edge can be stopped, and fail
            tick = max(tick + 1, math.ceil((time.monotonic() - starts_s) * self._fps - 1e-9))


class Judge:
    """An observer of the edge: which frames were answered, when, and whether by what the whole model says."""

    def __init__(self, package: Package, expected: Sequence[tuple[Array, ...]], mover: Mover) -> None:
        self.played: list[Frame] = []
        self.wrong = 0
        self._mover = mover
        self._counting = threading.Lock()
        self._stored = [tuple(array.tobytes() for array in arrays) for arrays in expected]
        told = package.manifest
        self._read = [outputs.read(told.results, arrays, told.labels, told.meanings) for arrays in expected]

    def alive(self) -> None: ...

    def answered(self, own: OwnAnswer) -> None:
        """What stays here is looked at as its mover sends it, which leaves what was hedged."""
        frame = self._mover.end(own.result.sequence)
        if frame is not None:
            self._judge(own.result, own.result.sequence, replace(frame, latency_s=own.latency_s, is_hedged=True))

    def here(self, packed: Packed) -> None:
        arrays = wire.unseal(packed.encoded).arrays()
        self._count(tuple(each.tobytes() for each in arrays) == self._stored[packed.sequence % len(self._stored)])

    def settled(self, settled: Settled) -> None:
        frame = self._mover.end(settled.sequence)
        if frame is None or settled.latency_s is None:
            return  # it was answered here, and was sent as well
        times = settled.answer.times if isinstance(settled.answer, results.Result) else None
        cloud_s = (times.queue_ms + times.decode_ms + times.tail_ms) / 1e3 if times else 0.0
        self._judge(settled.answer, settled.sequence, replace(frame, latency_s=settled.latency_s, cloud_s=cloud_s))

    def _judge(self, answer: object, sequence: int, frame: Frame) -> None:
        self.played.append(frame)
        self._count(_is(answer, self._read[sequence % len(self._read)]))

    def _count(self, is_right: bool) -> None:
        with self._counting:  # for frames are hedged on a thread of their own
            self.wrong += not is_right


def _is(answer: object, expected: outputs.Outputs) -> bool:
    if not isinstance(answer, results.Result):
        return False
    return (tuple((each.label, each.score) for each in answer.top), answer.values) == (expected.top, expected.values)


def _controller(task: Task) -> tuple[Controller, str]:
    """Of the task's policy, and the cut that it begins with."""
    stays = next((each for each in task.choices if each.id == task.policy), None)
    if stays is not None:
        return Foreign(rivals.Static(stays), task.choices, task.usual), stays.id
    tuning = Tuning(hedge=task.hedge, probing=Probing() if task.has_probes else None)
    policy = comparison.makers(Goal(Wish(task.objective)), tuning)[task.policy](task.choices, task.usual)
    made = policy if isinstance(policy, Controller) else Foreign(policy, task.choices, task.usual)
    return made, min(task.choices, key=lambda each: latency_s(each, task.usual)).id


def run(task: Task, begin: Callable[[], float], controller: Controller | None = None) -> Told:
    """`begin` waits until the trace begins, and says when that is by the monotonic clock. The `controller` is that of
    the task's policy."""
    package = reading.open_package(Path(task.package))
    named, start = _controller(task)
    controller = controller or named
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(candidates.opened(package, task.choices))
        on_device = _on_device(package, opened, task, hedges=controller.hedge_after_s(controller.now) is not None)
        window = 1 if on_device is None else _MOST_OUT
        settings = Settings(
            task.deployment, task.device, window=window, resend_after_s=_PATIENCE_S, drain_s=_PATIENCE_S
        )
        mover = Mover(opened, controller, start, task.slow_edge, on_device)
        judge = Judge(package, _rows(Path(task.outputs)), mover)
        mover.check_here = judge.here
        online = stack.enter_context(transport.MqttTransport(task.broker, client_id=task.device))
        online.connect()

        def begun() -> float:
            give_up_s = time.monotonic() + _TAILS_S
            while not mover.is_ready:
                if time.monotonic() > give_up_s:
                    raise errors.DeviceError(f"the cloud did not open the tails of all candidates in {_TAILS_S:g} s")
                time.sleep(_LOOK_S)
            mover.starts_s = begin()
            return mover.starts_s

        source = stack.enter_context(contextlib.closing(frames.open_source(task.source, package.manifest)))
        camera = Camera(source, task.fps, task.seconds, begun, mover.wait)
        summary = loop.Edge(package, mover.first, online, settings, observers=[judge], adaptation=mover).run(camera)
    moves = (replace(each, at_s=each.at_s - mover.starts_s) for each in controller.switches)
    return Told(
        frames=tuple(sorted([*mover.here, *judge.played], key=lambda frame: frame.taken_s)),
        switches=tuple(moves),
        probe_bytes=float(mover.probes.bytes) if mover.probes else 0.0,
        lost=len(mover.out),
        wrong=judge.wrong,
        hedged=summary.hedged,
    )


def _on_device(package: Package, opened: Sequence[Candidate], task: Task, *, hedges: bool) -> OnDevice | None:
    """What answers overdue frames; None where nothing does, or the whole model is not here."""
    chain = next((each.chain for each in opened if each.choice.is_local), None)
    return SlowOnDevice(package, chain, hedges=True, slow_edge=task.slow_edge) if hedges and chain else None


def _rows(path: Path) -> list[tuple[Array, ...]]:
    """Of a `.npz` with an array for each output."""
    with np.load(path, allow_pickle=False) as arrays:
        return list(zip(*(arrays[name] for name in arrays.files), strict=True))


def serve(path: Path, make: Callable[[Task], Controller | None] = lambda task: None) -> None:
    """Runs the task in a file as this process's only work."""
    task = Task.from_json(json.loads(path.read_text()))

    def begin() -> float:
        print(tasks.READY, flush=True)
        return float(sys.stdin.readline())

    print(json.dumps(run(task, begin, make(task)).as_json()), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
