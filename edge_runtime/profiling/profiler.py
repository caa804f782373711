"""Times every cut of a package on this machine, for one side. `tflsplit.timings.profiles` owns what comes out of it.

Rounds go through the cuts in turn, forth and back, so that a machine that grows warmer or busier does it to all alike.
A cut drops out once its median is known closely; the rest go on while the budget lasts. Where even a few rounds of all
cuts exceed it, cuts spread evenly over the work are timed; those between them are interpolated and called *estimated*.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from edge_runtime.accelerators.protocol import Accelerator
from edge_runtime.machine import environment
from edge_runtime.profiling import interpolation, pixel_costs
from edge_runtime.profiling.features import Features
from edge_runtime.profiling.journal import Journal
from edge_runtime.profiling.measurement import Clock, Measurement, Measurer
from edge_runtime.sources import frames
from edge_runtime.sources.frames import Source
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.timings import sampling
from tflsplit.timings.profiles import CutTiming, PixelTiming, Profile, Side, Timing

# The median of medians over this many loadings is no longer moved by one unlucky placing in memory.
FEWEST_VISITS = 3
_PREPROCESSINGS = 30
_INPUTS = 4
_RANDOM = "inputs are random: coded sizes and codec times are those of noise; give samples for real ones"


@dataclass(frozen=True, slots=True)
class Settings:
    """`budget_s` bounds the timing itself; `precision` is how closely each median is to be known, as a share of it."""

    budget_s: float = 20.0
    precision: float = 0.02

    def __post_init__(self) -> None:
        if not self.budget_s > 0:
            raise errors.SettingsError(f"budget of {self.budget_s} s: give more than 0")
        if not 0 < self.precision < 1:
            raise errors.SettingsError(f"precision of {self.precision}: give a share between 0 and 1, as 0.02")


@dataclass(frozen=True, slots=True)
class Task:
    """What is profiled: `source` gives the inputs, None means random ones; `pixels` gives the same before their
    preprocessing, None where there are none. `threads` is for the record, `jpeg_quality` that of pictures sent as JPEG.
    """

    package: Package
    side: Side
    accelerator: Accelerator
    source: Source | None = None
    threads: int = 1
    pixels: Source | None = None
    jpeg_quality: int = 75

    def run(self) -> dict[str, str]:
        """What a profile that goes on must share with the one that was begun."""
        return {
            "package": self.package.digest,
            "side": self.side.value,
            "accelerator": self.accelerator.name,
            "threads": str(self.threads),
            "host": environment.describe().get("host", ""),
            "samples": "random" if self.source is None else "given",
        }


@dataclass
class _Found:
    """The visits of each cut so far."""

    visits: dict[str, list[Measurement]] = field(default_factory=dict)

    def add(self, visit: Measurement) -> None:
        self.visits.setdefault(visit.cut, []).append(visit)

    def is_done(self, cut: Cut, precision: float) -> bool:
        visits = self.visits.get(cut.id, [])
        return len(visits) >= FEWEST_VISITS and sampling.is_narrow(
            [sample for visit in visits for sample in visit.run_s], precision
        )


def profile(
    task: Task,
    journal: Path,
    settings: Settings | None = None,
    *,
    on_visit: Callable[[str], None] = lambda said: None,
    clock: Clock = time.perf_counter,
) -> Profile:
    """Times what `journal`, an earlier run's partial file, does not hold yet. Who keeps the result removes that file.

    `on_visit` is told what happens, for progress. Raises DeviceError if a half cannot be run here, DataError for a
    journal of another run.
    """
    settings = settings or Settings()
    cuts = _cuts(task)
    source = task.source or frames.from_arrays(
        random_columns(task.package), task.package.manifest, name="random inputs"
    )
    inputs = tuple(taken.arrays for taken in islice(source.inputs(repeats=True), _INPUTS))
    features = Features(task.package, (*cuts, task.package.cuts[-1]), inputs)
    # What crosses the last cut is the model's outputs.
    outputs = features.of(task.package.cuts[-1])[0]
    visitor = Measurer(task.package, task.side, task.accelerator, outputs, clock=clock)
    found = _Found()
    with Journal(journal, task.run()) as kept:
        for visit in kept.visits:
            found.add(visit)
            on_visit(visit.cut)
        for cut in _turns(cuts, found, settings, clock):
            visit = visitor.visit(cut, inputs, features.of(cut))
            kept.add(visit)
            found.add(visit)
            on_visit(cut.id)
    preprocess = _preprocessing(source, clock) if task.side is Side.EDGE else None
    return _assemble(task, cuts, found, preprocess, _pixels(task, outputs, clock))


def _cuts(task: Task) -> tuple[Cut, ...]:
    """All that have a tail; where only compiled heads run, those that have one, and `input`, whose head is empty."""
    if task.side is Side.CLOUD or not task.accelerator.needs_compiled:
        return task.package.served_cuts
    found = tuple(
        cut
        for cut in task.package.served_cuts
        if cut.position == 0 or task.package.file(cut, "head_edgetpu") is not None
    )
    if len(found) == 1:
        raise errors.PackageError(
            f"{task.package.path}: no head is compiled for {task.accelerator.name}; see `tflsplit compile`"
        )
    return found


def _turns(cuts: Sequence[Cut], found: _Found, settings: Settings, clock: Clock) -> Iterator[Cut]:
    """Whose turn it is, until all are known closely or the budget is spent; no cut is left with too few visits.

    The first and last cut go first: from them it is known what a round costs.
    """
    began_s = clock()
    ends = (cuts[0], cuts[-1])
    yield from (cut for cut in ends if not found.visits.get(cut.id))
    # Even where they were visited by a run that was killed.
    seconds_a_visit = float(np.mean([found.visits[cut.id][0].took_s for cut in ends]))
    timed = interpolation.affordable(cuts, seconds_a_visit * FEWEST_VISITS, settings.budget_s)
    for number in range(1_000_000):
        due = [cut for cut in timed if not found.is_done(cut, settings.precision)]
        for cut in due if number % 2 == 0 else reversed(due):
            is_over = clock() - began_s > settings.budget_s
            if is_over and all(len(found.visits.get(one.id, ())) >= FEWEST_VISITS for one in timed):
                return
            if len(found.visits.get(cut.id, ())) < FEWEST_VISITS or not is_over:
                yield cut
        if not due:
            return


def random_columns(package: Package) -> tuple[Array, ...]:
    """Inputs for want of real ones, an array for each of the model's: pixels for pictures, else as stored."""
    manifest = package.manifest
    if manifest.preprocessing is None or len(manifest.inputs) != 1:
        rows = verify.random_samples(manifest.inputs, _INPUTS)
        return tuple(np.concatenate(column) for column in zip(*rows, strict=True))
    random = np.random.default_rng(0)
    return (random.integers(0, 256, (_INPUTS, *manifest.inputs[0].shape[1:]), dtype=np.uint8),)


def _preprocessing(source: Source, clock: Clock) -> Timing:
    """What the edge does from an input's capture to its head, as its loop does it."""
    samples = []
    inputs = source.inputs(repeats=True)
    next(inputs)
    for _ in range(_PREPROCESSINGS):
        began_s = clock()
        next(inputs)
        samples.append(clock() - began_s)
    return Timing(tuple(samples))


def _pixels(task: Task, outputs: tuple[Array, ...], clock: Clock) -> tuple[PixelTiming, ...]:
    """The picture sent as it is; nothing where the model takes none or the samples hold none."""
    source = task.pixels
    if task.source is None:
        with suppress(errors.DataError):
            columns = random_columns(task.package)
            source = frames.from_arrays(columns, task.package.manifest, name="random inputs", as_pixels=True)
    if source is None:
        return ()
    return pixel_costs.time_codecs(
        task.package,
        task.side,
        source,
        outputs,
        quality=task.jpeg_quality,
        is_random=task.source is None,
        clock=clock,
    )


def _assemble(
    task: Task, cuts: Sequence[Cut], found: _Found, preprocess: Timing | None, pixels: tuple[PixelTiming, ...]
) -> Profile:
    timed = {cut.id: _timing(cut, found.visits[cut.id], task) for cut in cuts if cut.id in found.visits}
    notes = [_RANDOM] if task.source is None else []
    if len(timed) < len(cuts):
        notes.append(f"{len(timed)} of {len(cuts)} cuts timed, those between them estimated from their work")
    return Profile(
        package=task.package.digest,
        name=task.package.manifest.name,
        side=task.side,
        accelerator=task.accelerator.name,
        machine=environment.describe() | {"threads": str(task.threads)},
        cuts=interpolation.fill(cuts, timed),
        preprocess=preprocess,
        notes=tuple(notes),
        pixels=pixels,
    )


def _timing(cut: Cut, visits: Sequence[Measurement], task: Task) -> CutTiming:
    coded = [visit.coded_bytes for visit in visits if visit.coded_bytes is not None]
    # An accelerator's own memory is not this process's: 0 tells the planner to estimate it.
    memory_bytes = 0 if task.accelerator.is_external else int(np.median([visit.memory_bytes for visit in visits]))
    return CutTiming(
        cut=cut.id,
        run=Timing(tuple(sample for visit in visits for sample in visit.run_s)),
        coding=Timing(tuple(sample for visit in visits for sample in visit.coding_s)),
        coded_bytes=float(np.mean(coded)) if coded else None,
        load_s=float(np.median([visit.load_s for visit in visits])),
        memory_bytes=memory_bytes,
    )
