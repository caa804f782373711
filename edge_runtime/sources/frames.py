"""Sources of inputs: a folder of pictures, a `.npy`, `.npz` or `.csv` file, what `words` names, or any Python iterable.

A source gives the model's inputs as the head takes them, with the time of their capture; or, if the cloud preprocesses,
the pixels of pictures. Nothing here runs a model or sends anything.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_runtime.sources import words
from edge_runtime.sources.captured import Capture
from edge_runtime.sources.words import Word
from tflsplit import arguments, errors
from tflsplit.arguments import PathLike
from tflsplit.coding import input_codec
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.inputs import pictures, samples
from tflsplit.inputs.preprocessing import Preprocessing
from tflsplit.inputs.samples import Samples
from tflsplit.package.manifest import Manifest
from tflsplit.package.reading import Package

if TYPE_CHECKING:
    from edge_runtime.sources.topic import Connect


class Input(NamedTuple):
    """One input of the model: its arrays, and when they were captured (ns since the epoch)."""

    arrays: tuple[Array, ...]
    captured_ns: int


class Source:
    """Inputs one after the other; closing it frees a camera or a file.

    `make` is called for each pass over the data, so that a source that ends can be repeated. `fit` returns the
    conversion to a package's inputs (DataError if there is none); without `fit` captures are inputs already. A source
    that `gives_pixels` gives uint8 pixels in the input's shape, any other gives inputs as the model stores them. What a
    source leaves out it reports to `drop`, by reason; whoever counts replaces it. `size_of` tells width and height of a
    captured picture; None where its pixels are the model's. `shown` gives what a person would see of a capture: a
    picture file, RGB pixels, or None; each capture is told to `seen`, which whoever shares pictures replaces.
    `length` is how many captures a pass has, if known. `make` may give a `Capture`, and None where it has nothing yet.
    """

    def __init__(
        self,
        make: Callable[[], Iterator[Any]],
        convert: samples.Convert,
        *,
        fit: Callable[[Manifest], samples.Convert] | None = None,
        is_live: bool,
        gives_pixels: bool = False,
        close: Callable[[], None] = lambda: None,
        size_of: Callable[[Any], tuple[int, int] | None] = lambda raw: None,
        shown: "Callable[[Any], Path | Array | None]" = lambda raw: None,
        length: int | None = None,
    ) -> None:
        self._make = make
        self.convert = convert  # an edge that changes its package replaces it
        self.fit = fit
        self.is_live = is_live
        self.gives_pixels = gives_pixels
        self.close = close
        self.size_of = size_of
        self.shown = shown
        self.seen: Callable[[Capture], None] = lambda capture: None
        self.length = length
        self.drop: Callable[[str], None] = lambda reason: None

    def fitted(self, package: Package, before: Package) -> samples.Convert:
        """The conversion of captures to the inputs of another package than that `before`."""
        if self.fit is not None:
            return self.fit(package.manifest)
        if package.manifest.inputs != before.manifest.inputs:
            raise errors.SettingsError(f"{package.path}: the source gives inputs as {before.path} has them")
        return self.convert

    def captures(self, *, repeats: bool = False, clock: Callable[[], int] = time.time_ns) -> Iterator[Capture]:
        """All captures with their time; with `repeats` a source that ends starts again."""
        return (taken for taken in self.awaited(repeats=repeats, clock=clock) if taken is not None)

    def awaited(self, *, repeats: bool = False, clock: Callable[[], int] = time.time_ns) -> Iterator[Capture | None]:
        """The same, with None each time that a source which waits for pictures has none."""
        passes: Iterable[int] = cycle((0,)) if repeats and not self.is_live else (0,)
        for _ in passes:
            captured_ns, captured_at_s = clock(), time.monotonic()
            for raw in self._make():
                taken = raw if raw is None or isinstance(raw, Capture) else Capture(raw, captured_ns, captured_at_s)
                if taken is not None:
                    self.seen(taken)
                yield taken
                captured_ns, captured_at_s = clock(), time.monotonic()

    def inputs(self, *, repeats: bool = False, clock: Callable[[], int] = time.time_ns) -> Iterator[Input]:
        """Every capture as inputs of the model."""
        for taken in self.captures(repeats=repeats, clock=clock):
            yield Input(self.convert(taken.raw), taken.captured_ns)


def open_source(
    wanted: "PathLike | Array | Sequence[Array]",
    manifest: Manifest,
    *,
    as_pixels: bool = False,
    reader: str = "",
    connect: "Connect | None" = None,
) -> Source:
    """`wanted` is a folder of pictures, a picture, a `.npy`, `.npz` or `.csv` file or what `words` names; or an array
    for each input. What their numbers mean: `tflsplit.inputs.samples`. A watched folder remembers what `reader` took;
    `connect` is for a topic of pictures.

    Raises DataError naming the source, what was found in it and what the model takes.
    """
    if isinstance(wanted, np.ndarray):
        wanted = (wanted,)
    if isinstance(wanted, list | tuple) and wanted and all(isinstance(column, np.ndarray) for column in wanted):
        return from_arrays(tuple(wanted), manifest, name="source", as_pixels=as_pixels)
    if not isinstance(wanted, str | os.PathLike):
        raise arguments.wrong("source", wanted, f"a path, {words.WRITTEN}, or an array for each input")
    if isinstance(wanted, str) and words.is_word(wanted):
        return _pictures(words.parse(wanted), manifest, as_pixels=as_pixels, reader=reader, connect=connect)
    path = arguments.path(wanted, "source")
    return _from_samples(samples.read(path, manifest.inputs), manifest, as_pixels=as_pixels)


def open_either(
    wanted: "PathLike | Array | Sequence[Array]",
    manifest: Manifest,
    *,
    reader: str = "",
    connect: "Connect | None" = None,
) -> Source:
    """Pixels where the source has them, else inputs as the model stores them."""
    try:
        return open_source(wanted, manifest, as_pixels=True, reader=reader, connect=connect)
    except errors.DataError:
        return open_source(wanted, manifest, reader=reader, connect=connect)


def from_arrays(columns: tuple[Array, ...], manifest: Manifest, *, name: str, as_pixels: bool = False) -> Source:
    """One array per model input, the first axis being the frames. `as_pixels` takes pixels only, and leaves them so."""
    return _from_samples(Samples(name, columns), manifest, as_pixels=as_pixels)


def _from_samples(found: Samples, manifest: Manifest, *, as_pixels: bool) -> Source:
    def fit(manifest: Manifest) -> samples.Convert:
        for column in found.columns if as_pixels else ():
            if isinstance(column, np.ndarray) and column.dtype != np.uint8:
                raise errors.DataError(
                    f"{found.name}: {column.dtype} data; to send pixels, raw or as JPEG, give pixels (uint8)"
                )
        resize = manifest.preprocessing.resize if manifest.preprocessing else None
        return found.fit(*_taken(manifest, as_pixels=as_pixels), resize)

    return Source(
        lambda: map(found.row, range(len(found))),
        fit(manifest),
        fit=fit,
        is_live=False,
        gives_pixels=as_pixels,
        size_of=found.size,
        shown=found.picture,
        length=len(found),
    )


def _taken(manifest: Manifest, *, as_pixels: bool) -> tuple[tuple[TensorSpec, ...], Preprocessing | None]:
    """What the source's inputs become: those of the model, or the pixels that would."""
    if not as_pixels:
        return manifest.inputs, manifest.preprocessing
    spec, _ = input_codec.picture_input(manifest)
    return (input_codec.pixels_of(spec),), None


def _pictures(
    word: Word, manifest: Manifest, *, as_pixels: bool, reader: str, connect: "Connect | None" = None
) -> Source:
    def fit(manifest: Manifest) -> samples.Convert:
        spec, told = input_codec.picture_input(manifest)
        pictures.picture_shape(spec.shape, name=manifest.name)
        specs, preprocessing = _taken(manifest, as_pixels=as_pixels)
        convert = samples.of_numbers(word.shown, np.dtype(np.uint8), specs[0], preprocessing)

        def fitted(picture: Any) -> tuple[Array, ...]:
            pixels = pictures.fitted(given.rgb(picture), spec.shape, told.resize, name=word.shown)
            return (convert(pixels.reshape(spec.shape)),)

        return fitted

    from edge_runtime.sources import live  # files start without cameras

    convert = fit(manifest)  # refuses before a camera is opened
    given = live.opened(word, reader, connect)
    source = Source(
        lambda: given.make(lambda reason: source.drop(reason)),  # noqa: PLW0108 - `drop` is replaced while it runs
        convert,
        fit=fit,
        is_live=given.is_live,
        gives_pixels=as_pixels,
        close=given.close,
        size_of=given.size,
        shown=given.shown,
    )
    return source
