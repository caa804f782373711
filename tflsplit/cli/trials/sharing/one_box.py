"""All machines of a placement on this one: a process for each, every result compared with the whole model's.

They share this machine's processors, so without a pace their times are not those of machines apart.
"""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.messages.results import Result
from tflsplit.cli.trials.sharing import deaths, meeting, whole
from tflsplit.cli.trials.sharing.processes import Processes, Way
from tflsplit.placement import folder, planfile
from tflsplit.placement.folder import Shared
from tflsplit.values.classes import dataclass

# Of those with one frame at a time.
_ALONE = 40
# More than anybody waits for: where workers die the inputs go on until that is over.
_ENDLESS = 1_000_000_000
_PATIENT = ("--no-replan",)


@dataclass(frozen=True, slots=True)
class Tried:
    """`frames` were given and have `results`; `wrong` are those that are not the whole model's. Times are of the run
    with all frames; `latency_ms` of one with a frame at a time. `busy_ms` is what each machine computed for a frame.
    Where workers were `killed`, `placements` counts the changes, and there are no times."""

    over: str
    frames: int
    results: int
    wrong: int
    in_order: bool
    paced: bool
    frames_per_s: float | None
    latency_ms: float | None
    busy_ms: Mapping[str, float]
    expected: Mapping[str, object]
    killed: int = 0
    placements: int = 1
    repeats: int = 0
    recomputed: int = 0

    @property
    def of_slowest(self) -> float | None:
        """Frames a second beside those that the slowest machine's computing allows."""
        return None if self.frames_per_s is None else self.frames_per_s * max(self.busy_ms.values()) / 1e3

    @property
    def is_whole(self) -> bool:
        """Whether each result is there, once, in order, and right."""
        return self.results == self.frames and not self.wrong and self.in_order

    def as_json(self) -> dict[str, object]:
        fields = {name: getattr(self, name) for name in self.__slots__ if name != "expected"}
        return {**fields, "of_slowest": self.of_slowest, "predicted": dict(self.expected)}


def run(bundle: Path, *, frames: int, pace: str | None = None, over: str = meeting.MQTT, kills: bool = False) -> Tried:
    """Random inputs through all workers, which meet over `meeting.MQTT` or `meeting.BOX`. Without a `pace` each machine
    is as quick as was stated, if it was. With `kills` each worker dies once, and is started again.

    DeviceError where a worker fails or a broker is not installed.
    """
    shared = folder.open_folder(bundle)
    pace = pace or (planfile.STATED if shared.plan.cluster is not None else None)
    with tempfile.TemporaryDirectory(prefix="tflsplit-run-chain-") as place:
        inputs = whole.write(shared, Path(place) / "inputs.npz")
        common = ("--pace", pace) if pace else ()
        if kills:
            return _killed(shared, over, inputs, common, frames)
        return _timed(shared, over, inputs, common, frames)


def _timed(shared: Shared, over: str, inputs: whole.Whole, common: Sequence[str], frames: int) -> Tried:
    with meeting.of(over) as way:
        alone = _run(shared, way, inputs, common, min(frames, _ALONE), "--window", "1")
    with meeting.of(over) as way:
        piped = _run(shared, way, inputs, common, frames)
    found = [*alone.results, *piped.results]
    first = piped.summaries[shared.plan.machines[shared.plan.source]]
    sent_s = [each.times.sent_ms / 1e3 for each in piped.results]
    return Tried(
        over=over,
        frames=frames,
        results=len(piped.results),
        wrong=inputs.wrong(found),
        in_order=_is_in_order(alone.results) and _is_in_order(piped.results),
        paced=bool(common),
        frames_per_s=(len(sent_s) - 1) / (sent_s[-1] - sent_s[0]) if sent_s[-1] > sent_s[0] else first["frames_per_s"],
        latency_ms=_latency_ms(alone.results),
        busy_ms=_busy_ms(piped.summaries),
        expected=shared.plan.expected,
        recomputed=first["recomputed"],
    )


def _killed(shared: Shared, over: str, inputs: whole.Whole, common: Sequence[str], frames: int) -> Tried:
    given = ("--source", str(inputs.source), "--count", str(_ENDLESS), "--raw-outputs", *_PATIENT)
    with meeting.of(over) as way, Processes(shared, way, common, given) as workers:
        deaths.each_once(workers, frames)
        summaries = workers.summaries()
        first, heard = summaries[workers.first], workers.heard
        workers.follow(lambda: heard.count >= first["answered"])
    last = [each for each in heard.results if each.boot == heard.boot]
    before = [each for each in heard.results if each.boot != heard.boot]
    return Tried(
        over=over,
        frames=first["inputs"],
        results=len(last),
        wrong=inputs.wrong(heard.results),
        in_order=_is_in_order(before) and _is_in_order(last),
        paced=bool(common),
        frames_per_s=None,
        latency_ms=None,
        busy_ms=_busy_ms(summaries),
        expected=shared.plan.expected,
        killed=len(workers.names),
        placements=len(first["epochs"]),
        repeats=heard.repeats,
        recomputed=first["recomputed"],
    )


@dataclass(frozen=True, slots=True)
class _Run:
    results: Sequence[Result]
    summaries: Mapping[str, Mapping[str, Any]]


def _run(shared: Shared, way: Way, inputs: whole.Whole, common: Sequence[str], frames: int, *more: str) -> _Run:
    given = ("--source", str(inputs.source), "--count", str(frames), "--raw-outputs", *_PATIENT, *more)
    with Processes(shared, way, common, given) as workers:
        workers.follow(lambda: len(workers.heard.results) >= frames)
        return _Run(workers.heard.results, workers.summaries())


def _latency_ms(found: Sequence[Result]) -> float:
    """From an input's capture until its result goes out at the sink, as placements are planned. The first ones prepare
    kernels."""
    return statistics.median(each.times.sent_ms - each.times.captured_ms for each in found[len(found) // 4 :])


def _is_in_order(found: Sequence[Result]) -> bool:
    return [each.sequence for each in found] == list(range(len(found)))


def _busy_ms(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: told["compute_ms"] / told["frames"] for name, told in summaries.items() if told["frames"]}
