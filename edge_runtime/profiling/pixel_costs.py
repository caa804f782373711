"""Times how a side sends or receives a picture before its preprocessing: as raw pixels and as JPEG."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from edge_runtime.profiling.overhead import Overhead
from edge_runtime.sources import frames, words
from edge_runtime.sources.frames import Source
from tflsplit import errors
from tflsplit.arguments import PathLike
from tflsplit.coding.input_codec import InputCodec, Pixels
from tflsplit.graph.tensors import Array
from tflsplit.package.reading import Package
from tflsplit.timings.profiles import Origin, PixelTiming, Side, Timing

_RUNS = 30
# Size and time differ from JPEG to JPEG.
_PICTURES = 8


def open_pixels(wanted: "PathLike | Array | Sequence[Array]", package: Package) -> Source | None:
    """A source as pixels; None if it holds none, the model takes none, or it is a camera."""
    if isinstance(wanted, str) and words.is_word(wanted):
        return None  # it cannot be opened twice
    with suppress(errors.DataError):
        return frames.open_source(wanted, package.manifest, as_pixels=True)
    return None


def time_codecs(
    package: Package,
    side: Side,
    source: Source,
    outputs: tuple[Array, ...],
    *,
    quality: int,
    is_random: bool,
    clock: Callable[[], float],
) -> tuple[PixelTiming, ...]:
    """Times raw pixels and JPEG. `outputs` are the model's, for making results. With random inputs the sizes of JPEGs
    are left out and their times called estimated, because noise is not like a picture."""
    codecs = (InputCodec(Pixels.RAW), InputCodec(Pixels.JPEG, quality))
    return tuple(
        _time(Overhead(package, package.cuts[0], codec), side, source, outputs, codec, is_random=is_random, clock=clock)
        for codec in codecs
    )


def mean_bytes(package: Package, source: Source, quality: int) -> float:
    """The mean size of the source's pictures as JPEG, without the headers of frames."""
    frame = Overhead(package, package.cuts[0], InputCodec(Pixels.JPEG, quality))
    sizes = [frame.coded_bytes(frame.encode(taken.arrays)) for taken in islice(source.inputs(), _PICTURES)]
    return sum(sizes) / len(sizes)


def _time(
    frame: Overhead,
    side: Side,
    source: Source,
    outputs: tuple[Array, ...],
    input_codec: InputCodec,
    *,
    is_random: bool,
    clock: Callable[[], float],
) -> PixelTiming:
    is_noise = is_random and input_codec.is_lossy
    inputs = source.inputs(repeats=True)
    capture = tuple(timed(lambda: next(inputs), clock, _RUNS)) if side is Side.EDGE else None
    pictures = [next(inputs).arrays for _ in range(_PICTURES)]
    coded = [frame.encode(picture) for picture in pictures]
    answers = frame.answer(coded[0], outputs)
    turns = iter(range(_RUNS + 1))

    def at_edge() -> None:
        frame.encode(pictures[next(turns) % _PICTURES])
        frame.read(answers)

    def in_cloud() -> None:
        frame.answer(coded[next(turns) % _PICTURES], outputs)

    coding = tuple(timed(at_edge if side is Side.EDGE else in_cloud, clock, _RUNS))
    sizes = [frame.coded_bytes(encoded) for encoded in coded]
    return PixelTiming(
        input_codec=str(input_codec),
        capture=Timing(capture) if capture else None,
        coding=Timing(coding, Origin.ESTIMATED if is_noise else Origin.MEASURED),
        coded_bytes=None if is_noise else sum(sizes) / len(sizes),
    )


def timed(work: Callable[[], object], clock: Callable[[], float], runs: int) -> Iterator[float]:
    """The seconds of each run of `work`, after one that warms up."""
    work()
    for _ in range(runs):
        began_s = clock()
        work()
        yield clock() - began_s
