"""What an edge takes of its processor for a frame besides preprocessing, head and coding, and for a change of model.

The first is the processor time of a run of the edge's own loop, so that other work of the machine does not count. Its
head keeps the processor busy outside of Python for a moment, or waits where an accelerator would: threads wake and
sleep as they do in service. That head's time is taken off, and what was measured of preprocessing and coding by
themselves. The second is how much longer heads take that run by turns.
"""

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

from broker.transport.protocol import Transport
from edge_runtime.accelerators.protocol import Accelerator, OpenModel
from edge_runtime.delivery.settings import Settings
from edge_runtime.head import Head, open_on
from edge_runtime.loop import Edge
from edge_runtime.profiling.measurement import Clock
from edge_runtime.sources.frames import Source
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.package.reading import Package
from tflsplit.timings.profiles import Besides
from tflsplit.values.classes import dataclass, field

# Of the deployment that is made up for it.
DEPLOYMENT, DEVICE = "profile", "edge"
# Work for one to ten milliseconds.
_WAIT_S, _WORK = 0.002, bytes(2_000_000)
_WARM, _FRAMES = 30, 200
_ROUNDS, _IN_A_ROW = 15, 4

# Gives a connection on which every frame is answered with a result, given as JSON.
Answered = Callable[[bytes], AbstractContextManager[Transport]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An accelerator that takes its time and gives what it was given. `used_s` is what it took of the processor."""

    outputs: tuple[TensorSpec, ...]
    arrays: tuple[Array, ...]
    is_busy: bool
    used_s: list[float] = field(default_factory=list)
    name: str = "cpu"
    needs_compiled: bool = False
    is_external: bool = False

    @property
    def properties(self) -> Mapping[str, str]:
        return {}

    def open(self, model: bytes, *, name: str) -> OpenModel:
        return self

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        began_s = time.thread_time()
        if self.is_busy:
            hashlib.sha256(_WORK)
        else:
            time.sleep(_WAIT_S)
        self.used_s.append(time.thread_time() - began_s)
        return self.arrays

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Frames:
    """Those of a cut with a head. `boundary` is what crosses it, `known_s` is what is counted elsewhere of the work for
    each; their heads are on an accelerator that `is_external`, or on the processor."""

    package: Package
    cut: Cut
    boundary: tuple[Array, ...]
    source: Source
    known_s: float
    is_external: bool


def measure(given: Frames, transport: Transport) -> Besides:
    """Every frame is answered on `transport`."""
    waiting = _Waiting(given.cut.boundary, given.boundary, is_busy=not given.is_external)
    with Head(given.package, given.cut, accelerator=waiting) as head:
        for frames in (_WARM, _FRAMES):
            edge = Edge(given.package, head, transport, Settings(DEPLOYMENT, DEVICE, count=frames))
            waiting.used_s.clear()
            own_s, all_s = time.thread_time(), time.process_time()
            edge.run(given.source)
            own_s, all_s = time.thread_time() - own_s, time.process_time() - all_s
    known_s = given.known_s + sum(waiting.used_s) / _FRAMES
    own_s, all_s = (max(0.0, taken_s / _FRAMES - known_s) for taken_s in (own_s, all_s))
    return Besides(own_s, all_s, len(os.sched_getaffinity(0)))


def switch_s(
    accelerator: Accelerator, package: Package, cuts: Sequence[Cut], inputs: Sequence[tuple[Array, ...]], clock: Clock
) -> float | None:
    """How much longer an inference takes behind one of another head; None without two heads. `inputs` are the
    model's."""
    chosen = [cut for cut in cuts if cut.head.operators][-2:]
    if len(chosen) < 2:
        return None
    with ExitStack() as stack:
        opened = [open_on(accelerator, package, cut) for cut in chosen]
        for each in opened:
            stack.callback(each.close)
            each.run(*inputs[0])
        found = []
        for number in range(_ROUNDS):
            given = inputs[number % len(inputs)]
            alone_s = sum(_took_s([each] * (_IN_A_ROW + 1), given, clock) for each in opened)
            found.append((_took_s([*opened] * _IN_A_ROW + [opened[0]], given, clock) - alone_s) / (2 * _IN_A_ROW))
    return max(0.0, statistics.median(found))


def _took_s(models: Sequence[OpenModel], given: tuple[Array, ...], clock: Clock) -> float:
    """Of all but the first, which finds the cache as whatever was before left it."""
    models[0].run(*given)
    began_s = clock()
    for each in models[1:]:
        each.run(*given)
    return clock() - began_s
