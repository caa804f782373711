"""Times every cut of a package on this machine, for one side. `tflsplit.timings.profiles` owns what comes out of it.

Rounds go through the cuts forwards and backwards, so that a machine that grows warmer or busier affects all cuts alike.
A cut is done once its median is known precisely; the others go on while the budget lasts. If even a few rounds of all
cuts exceed it, only some cuts, evenly over the work, are timed; the others are interpolated and called *estimated*.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from broker.messages import wire
from edge_runtime.accelerators.protocol import Accelerator
from edge_runtime.machine import environment
from edge_runtime.profiling import batches, besides, bit_costs, interpolation, piece_cost, pixel_costs
from edge_runtime.profiling.features import Features
from edge_runtime.profiling.journal import Journal
from edge_runtime.profiling.measurement import Clock, Measurement, Measurer
from edge_runtime.profiling.overhead import Overhead
from edge_runtime.sources import frames
from edge_runtime.sources.captured import rows
from edge_runtime.sources.frames import Source
from tflsplit import arguments, errors, text
from tflsplit.coding import jpeg, precisions
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.inputs import pictures
from tflsplit.kernels import keeping
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.placement.rewriting.network import Network
from tflsplit.timings import sampling
from tflsplit.timings.profiles import Besides, BitsTiming, CutTiming, PixelTiming, Profile, Side, Timing
from tflsplit.values.classes import dataclass, replace

# With this many loadings one unlucky placing in memory does not change the median of medians.
FEWEST_MEASUREMENTS = 3
_PREPROCESSINGS = 30
_INPUTS = 4
_RANDOM = "inputs are random: coded sizes and codec times are those of noise; give samples for real ones"


@dataclass(frozen=True, slots=True)
class Settings:
    """`budget_s` bounds the timing itself; `precision` is the wanted precision of each median, as a share of it."""

    budget_s: float = 20.0
    precision: float = 0.02

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if not self.budget_s > 0:
            raise errors.SettingsError(f"budget of {self.budget_s} s: give more than 0")
        if not 0 < self.precision < 1:
            raise errors.SettingsError(f"precision of {self.precision}: give a share between 0 and 1, as 0.02")


@dataclass(frozen=True, slots=True)
class Task:
    """What is profiled: `source` gives the inputs (None: random ones), `pixels` the same before their preprocessing, if
    there are any. `threads` is only recorded; `jpeg_quality` is for pictures sent as JPEG. A frame holds `batch` of the
    inputs.
    """

    package: Package
    side: Side
    accelerator: Accelerator
    source: Source | None = None
    threads: int = 1
    pixels: Source | None = None
    jpeg_quality: int = 75
    batch: int = 1

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if self.jpeg_quality not in jpeg.QUALITIES:
            raise errors.SettingsError(
                f"JPEG quality {self.jpeg_quality}: give {jpeg.QUALITIES[0]} to {jpeg.QUALITIES[-1]}"
            )
        if not 1 <= self.batch <= wire.MAX_INPUTS:
            raise errors.SettingsError(f"batch of {self.batch} inputs: give 1 to {wire.MAX_INPUTS}")

    @property
    def wanted_inputs(self) -> int:
        """How many different ones are measured with: a frame of equal inputs would be coded in fewer bytes."""
        return max(_INPUTS, self.batch)

    def run(self) -> dict[str, str]:
        """What must be equal for continuing a run that was interrupted."""
        return {
            "package": self.package.digest,
            "side": self.side.value,
            "accelerator": self.accelerator.name,
            "threads": str(self.threads),
            "host": environment.describe().get("host", ""),
            "samples": "random" if self.source is None else "given",
        } | ({"batch": str(self.batch)} if self.batch > 1 else {})


# The measurements so far, by the id of their cut.
_Found = dict[str, list[Measurement]]


def profile(
    task: Task,
    journal: Path,
    settings: Settings | None = None,
    *,
    on_measurement: Callable[[str], None] = lambda said: None,
    clock: Clock = time.perf_counter,
    answered: besides.Answered | None = None,
) -> Profile:
    """Times what `journal`, the partial file of an earlier run, does not hold yet. Callers that have stored the result
    remove that file.

    `on_measurement` gets the cut of each measurement, for progress. Where an edge's frames are `answered` it is also
    measured what it does for each besides. DeviceError if a half cannot be run here, DataError for a journal of another
    run.
    """
    settings = settings or Settings()
    cuts, notes = _cuts(task)
    source = task.source or frames.from_arrays(
        random_columns(task.package, task.wanted_inputs), task.package.manifest, name="random inputs"
    )
    inputs = tuple(taken.arrays for taken in islice(source.inputs(repeats=task.batch == 1), task.wanted_inputs))
    notes += batches.too_few(inputs, task.batch)
    features = Features(task.package, (*cuts, task.package.cuts[-1]), inputs)
    # What crosses the last cut is the model's outputs.
    outputs = features.of(task.package.cuts[-1])[0]
    framed = batches.frames(inputs, task.batch, _INPUTS)
    measurer = Measurer(task.package, task.side, _widened(task), outputs, clock=clock, batch=task.batch)
    found: _Found = {cut.id: [] for cut in cuts}
    with Journal(journal, task.run()) as kept:
        for measurement in kept.measurements:
            found.setdefault(measurement.cut, []).append(measurement)
            on_measurement(measurement.cut)
        for cut in _turns(cuts, found, settings, clock):
            measurement = measurer.measure(cut, framed, batches.frames(features.of(cut), task.batch, _INPUTS))
            kept.add(measurement)
            found[cut.id].append(measurement)
            on_measurement(cut.id)
    preprocess = _preprocessing(source, task.batch, clock) if task.side is Side.EDGE else None
    in_bits = {cut.id: _in_bits(task, cut, features, outputs, clock) for cut in cuts}
    made = _assemble(task, cuts, found, preprocess, _pixels(task, outputs, clock), in_bits=in_bits, notes=notes)
    made = replace(made, piece=_piece(task, inputs[0], clock))
    if task.side is Side.CLOUD or answered is None:
        return made
    return replace(made, besides=_besides(task, made, features, inputs, source, answered, clock))


def _besides(  # noqa: PLR0917 - what `profile` has at its end
    task: Task,
    made: Profile,
    features: Features,
    inputs: Sequence[tuple[Array, ...]],
    source: Source,
    answered: besides.Answered,
    clock: Clock,
) -> Besides | None:
    """At the cut that sends least; None where frames are more than an input, or no cut has a head."""
    package = task.package
    timed = {entry.cut: entry for entry in made.cuts}
    cuts = [cut for cut in package.cuts if cut.id in timed and cut.head.operators and cut.tail.operators]
    if not cuts or task.batch > 1 or package.manifest.is_stateful:
        return None
    cut = min(cuts, key=lambda each: each.payload_bytes)
    boundary, overhead = features.of(cut)[0], Overhead(package, cut)
    (result,) = overhead.answer(overhead.encode(boundary), features.of(package.cuts[-1])[0])
    known_s = timed[cut.id].coding.p50_s + (made.preprocess.p50_s if made.preprocess else 0.0)
    frames = besides.Frames(package, cut, boundary, source, known_s, task.accelerator.is_external)
    with answered(result) as transport:
        found = besides.measure(frames, transport)
    return replace(found, switch_s=besides.switch_s(task.accelerator, package, cuts, inputs, clock))


def _cuts(task: Task) -> tuple[tuple[Cut, ...], tuple[str, ...]]:
    """Those to measure; and why others take no batch, a line each."""
    if task.batch == 1:
        return _listed(task), ()
    heads_on = task.accelerator if task.side is Side.EDGE else None
    return batches.accepting(task.package, _listed(task), task.batch, heads_on)


def _widened(task: Task) -> Accelerator:
    return batches.widened(task.accelerator, task.batch) if task.side is Side.EDGE else task.accelerator


def _listed(task: Task) -> tuple[Cut, ...]:
    """The listed cuts with a tail; if only compiled heads run, those with one, and `input`, whose head is empty."""
    listed = set(task.package.select("listed"))
    served = tuple(cut for cut in task.package.served_cuts if cut in listed)
    if task.side is Side.CLOUD or not task.accelerator.needs_compiled:
        return served
    found = tuple(cut for cut in served if cut.position == 0 or task.package.file(cut, "head_edgetpu") is not None)
    if len(found) == 1:
        raise errors.PackageError(
            f"{task.package.path}: no head is compiled for {task.accelerator.name}; see `tflsplit compile`"
        )
    return found


def _turns(cuts: Sequence[Cut], found: _Found, settings: Settings, clock: Clock) -> Iterator[Cut]:
    """The next cut to measure, until all medians are precise or the budget is spent; none has too few measurements.

    The first and the last cut go first: they tell how long a round takes.
    """
    began_s = clock()
    ends = (cuts[0], cuts[-1])
    yield from (cut for cut in ends if not found[cut.id])
    measurement_s = float(np.mean([found[cut.id][0].took_s for cut in ends]))
    timed = interpolation.affordable(cuts, measurement_s * FEWEST_MEASUREMENTS, settings.budget_s)
    for number in range(1_000_000):
        due = [cut for cut in timed if not _is_precise(found[cut.id], settings.precision)]
        for cut in due if number % 2 == 0 else reversed(due):
            is_over = clock() - began_s > settings.budget_s
            if is_over and all(len(found[one.id]) >= FEWEST_MEASUREMENTS for one in timed):
                return
            if len(found[cut.id]) < FEWEST_MEASUREMENTS or not is_over:
                yield cut
        if not due:
            return


def _is_precise(measurements: Sequence[Measurement], precision: float) -> bool:
    samples = [sample for measurement in measurements for sample in measurement.run_s]
    return len(measurements) >= FEWEST_MEASUREMENTS and sampling.is_narrow(samples, precision)


def random_columns(package: Package, count: int = _INPUTS) -> tuple[Array, ...]:
    """Random inputs, an array for each of the model's: pixels if it takes pictures, else as stored."""
    manifest = package.manifest
    takes_pictures = manifest.preprocessing is not None and len(manifest.inputs) == 1
    if not takes_pictures or not pictures.is_picture(manifest.inputs[0].shape):
        rows = verify.random_samples(manifest.inputs, count)
        return tuple(np.concatenate(column) for column in zip(*rows, strict=True))
    random = np.random.default_rng(0)
    return (random.integers(0, 256, (count, *manifest.inputs[0].shape[1:]), dtype=np.uint8),)


def _preprocessing(source: Source, batch: int, clock: Clock) -> Timing:
    """Times what the edge does from the capture of a frame's inputs to its head."""
    inputs = source.inputs(repeats=True)

    def gather() -> None:
        rows([next(inputs).arrays for _ in range(batch)])

    return Timing(tuple(pixel_costs.timed(gather, clock, _PREPROCESSINGS)))


def _pixels(task: Task, outputs: tuple[Array, ...], clock: Clock) -> tuple[PixelTiming, ...]:
    """The costs of sending pictures as pixels; empty if the model takes no pictures or the samples are none; pixels
    travel one input a frame."""
    if task.batch > 1:
        return ()
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


def _piece(task: Task, inputs: tuple[Array, ...], clock: Clock) -> Timing | None:
    """Shared models run on the CPU, an input at a time, and keep no state."""
    if task.accelerator.name.partition("?")[0] != "cpu" or task.batch > 1 or task.package.manifest.is_stateful:
        return None
    return piece_cost.time_pieces(Network(task.package.graph), inputs, threads=task.threads, clock=clock)


def _in_bits(
    task: Task, cut: Cut, features: Features, outputs: tuple[Array, ...], clock: Clock
) -> tuple[BitsTiming, ...]:
    """The costs of the fewer bits in which the cut's features may travel."""
    return tuple(
        bit_costs.time_bits(
            Overhead(task.package, cut, bits=each.bits, batch=task.batch),
            task.side,
            batches.frames(features.of(cut), task.batch, _INPUTS),
            outputs,
            bits=each.bits,
            clock=clock,
        )
        for each in precisions.of_package(task.package)
        if each.cut == cut.id
    )


def _assemble(
    task: Task,
    cuts: Sequence[Cut],
    found: _Found,
    preprocess: Timing | None,
    pixels: tuple[PixelTiming, ...],
    *,
    in_bits: Mapping[str, tuple[BitsTiming, ...]],
    notes: tuple[str, ...],
) -> Profile:
    timed = {cut.id: _timing(cut, found[cut.id], task) for cut in cuts if found[cut.id]}
    notes = (*((_RANDOM,) if task.source is None else ()), *notes)
    if len(timed) < len(cuts):
        notes += (
            f"{len(timed)} of {text.counted(len(cuts), 'cut')} timed, those between them estimated from their work",
        )
    return Profile(
        package=task.package.digest,
        name=task.package.manifest.name,
        side=task.side,
        accelerator=task.accelerator.name,
        machine=environment.describe() | {"threads": str(task.threads)},
        cuts=tuple(replace(each, in_bits=in_bits[each.cut]) for each in interpolation.fill(cuts, timed)),
        preprocess=preprocess,
        notes=notes,
        pixels=pixels,
        kernel_class=keeping.here(),
        batch=task.batch,
    )


def _timing(cut: Cut, measurements: Sequence[Measurement], task: Task) -> CutTiming:
    coded = [measurement.coded_bytes for measurement in measurements if measurement.coded_bytes is not None]
    # An accelerator's own memory is not this process's: 0 tells the planner to estimate it.
    memory_bytes = (
        0
        if task.accelerator.is_external
        else int(np.median([measurement.memory_bytes for measurement in measurements]))
    )
    return CutTiming(
        cut=cut.id,
        run=Timing(tuple(sample for measurement in measurements for sample in measurement.run_s)),
        coding=Timing(tuple(sample for measurement in measurements for sample in measurement.coding_s)),
        coded_bytes=float(np.mean(coded)) if coded else None,
        load_s=float(np.median([measurement.load_s for measurement in measurements])),
        memory_bytes=memory_bytes,
    )
