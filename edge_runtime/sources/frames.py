"""Sources of inputs: a folder of pictures, a `.npy` or `.npz` file, a camera, or any Python iterable.

A source gives the model's inputs as the head takes them, with the time of their capture; or, if the cloud preprocesses,
the pixels of pictures. Nothing here runs a model or sends anything.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import arguments, errors, extras
from tflsplit.arguments import PathLike
from tflsplit.coding import input_codec
from tflsplit.graph.tensors import Array, TensorSpec, quantise
from tflsplit.inputs import array_files, pictures
from tflsplit.inputs.preprocessing import PixelTable, Preprocessing
from tflsplit.package.manifest import Manifest

Convert = Callable[[Any], tuple[Array, ...]]


@dataclass(frozen=True, slots=True)
class Capture:
    """What a source has captured, before conversion, and when: in ns since the epoch, and by the monotonic clock."""

    raw: Any
    captured_ns: int
    captured_at_s: float = field(default_factory=time.monotonic, compare=False)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the model: its arrays, and when they were captured (ns since the epoch)."""

    arrays: tuple[Array, ...]
    captured_ns: int


class Source:
    """Inputs one after the other; closing it frees a camera or a file.

    `make` is called for each pass over the data, so that a source that ends can be repeated. `fit` returns the
    conversion to a package's inputs (DataError if there is none); without `fit` captures are inputs already. A source
    that `gives_pixels` gives uint8 pixels in the input's shape, any other gives inputs as the model stores them.
    """

    def __init__(
        self,
        make: Callable[[], Iterator[Any]],
        convert: Convert,
        *,
        fit: Callable[[Manifest], Convert] | None = None,
        is_live: bool,
        gives_pixels: bool = False,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._make = make
        self.convert = convert  # an edge that changes its package replaces it
        self.fit = fit
        self.is_live = is_live
        self.gives_pixels = gives_pixels
        self.close = close

    def captures(self, *, repeats: bool = False, clock: Callable[[], int] = time.time_ns) -> Iterator[Capture]:
        """All captures with their time; with `repeats` a source that ends starts again."""
        passes: Iterable[int] = cycle((0,)) if repeats and not self.is_live else (0,)
        for _ in passes:
            captured_ns, captured_at_s = clock(), time.monotonic()
            for raw in self._make():
                yield Capture(raw, captured_ns, captured_at_s)
                captured_ns, captured_at_s = clock(), time.monotonic()

    def inputs(self, *, repeats: bool = False, clock: Callable[[], int] = time.time_ns) -> Iterator[Input]:
        """Every capture as inputs of the model."""
        for taken in self.captures(repeats=repeats, clock=clock):
            yield Input(self.convert(taken.raw), taken.captured_ns)


def open_source(wanted: "PathLike | Array | Sequence[Array]", manifest: Manifest, *, as_pixels: bool = False) -> Source:
    """`wanted` is a folder of pictures, a picture, a `.npy`/`.npz` file or `camera:N`; or an array for each input.

    Raises DataError naming the source, what was found in it and what the model takes.
    """
    if isinstance(wanted, np.ndarray):
        wanted = (wanted,)
    if isinstance(wanted, list | tuple) and wanted and all(isinstance(column, np.ndarray) for column in wanted):
        return from_arrays(tuple(wanted), manifest, name="source", as_pixels=as_pixels)
    if not isinstance(wanted, str | os.PathLike):
        raise arguments.wrong("source", wanted, "a path, camera:N, or an array for each input of the model")
    path = arguments.path(wanted, "source")
    text = str(path)
    if text.startswith("camera:"):
        return _camera(text, manifest, as_pixels=as_pixels)
    if path.suffix in (".npy", ".npz"):
        return from_arrays(_load(path, manifest.inputs), manifest, name=str(path), as_pixels=as_pixels)
    if path.is_dir() or path.suffix.lower() in pictures.SUFFIXES:
        return _from_pictures(pictures.find(path) if path.is_dir() else (path,), manifest, as_pixels=as_pixels)
    raise errors.DataError(f"source {text!r}: not a folder of pictures, a picture, a .npy/.npz file or camera:N")


def from_iterable(
    make: Callable[[], Iterator[tuple[Array, ...]]], *, is_live: bool = True, gives_pixels: bool = False
) -> Source:
    """Inputs from Python: `make()` gives tuples of arrays that are already in the model's stored types and shapes.

    With `gives_pixels` they are uint8 pixels in the model's shapes, for an edge that sends these.
    """
    return Source(make, lambda arrays: arrays, is_live=is_live, gives_pixels=gives_pixels)


def from_arrays(columns: tuple[Array, ...], manifest: Manifest, *, name: str, as_pixels: bool = False) -> Source:
    """One array per model input, the first axis being the frames.

    uint8 arrays are pixels and go through the package's preprocessing if it has one, floats are the model's real
    values, and other arrays of an input's own type are taken as stored. `as_pixels` takes pixels only, and leaves them
    so.
    """
    counts = {len(column) if column.ndim else 0 for column in columns}
    if len(counts) != 1 or counts == {0}:
        raise errors.DataError(
            f"{name}: its arrays hold {sorted(counts)} frames; each must hold the same number, not 0"
        )

    def fit(manifest: Manifest) -> Convert:
        if as_pixels:
            input_codec.picture_input(manifest)
        if len(columns) != len(manifest.inputs):
            raise errors.DataError(f"{name}: {len(columns)} arrays, the model takes {len(manifest.inputs)} inputs")
        each = [
            _converter(spec, column, manifest.preprocessing, name, as_pixels=as_pixels)
            for spec, column in zip(manifest.inputs, columns, strict=True)
        ]
        return lambda row: tuple(convert(entry) for convert, entry in zip(each, row, strict=True))

    return Source(lambda: zip(*columns, strict=True), fit(manifest), fit=fit, is_live=False, gives_pixels=as_pixels)


def _converter(
    spec: TensorSpec, column: Array, preprocessing: Preprocessing | None, name: str, *, as_pixels: bool
) -> Callable[[Array], Array]:
    row_shape = column.shape[1:]
    if _without_ones(row_shape) != _without_ones(spec.shape):
        raise errors.DataError(f"{name}: frames of shape {row_shape}, model input {spec.name!r} takes {spec.shape[1:]}")
    if as_pixels and column.dtype != np.uint8:
        raise errors.DataError(f"{name}: {column.dtype} data; to send pixels, raw or as JPEG, give pixels (uint8)")
    if column.dtype == np.uint8 and preprocessing is not None:
        return _pixel_converter(spec, preprocessing, as_pixels=as_pixels)
    if column.dtype == np.dtype(spec.dtype):
        return lambda row: np.ascontiguousarray(row).reshape(spec.shape)
    if np.issubdtype(column.dtype, np.floating):
        return lambda row: quantise(row, spec).reshape(spec.shape)
    raise errors.DataError(
        f"{name}: {column.dtype} data for model input {spec.name!r} ({spec.dtype}); give pixels (uint8) or floats"
    )


def _pixel_converter(spec: TensorSpec, preprocessing: Preprocessing, *, as_pixels: bool) -> Callable[[Array], Array]:
    if as_pixels:
        return lambda pixels: np.ascontiguousarray(pixels).reshape(spec.shape)
    table = PixelTable(preprocessing, spec)
    return lambda pixels: table.apply(pixels).reshape(spec.shape)


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)


def _load(path: Path, inputs: tuple[TensorSpec, ...]) -> tuple[Array, ...]:
    found = array_files.read(path)
    if isinstance(found, np.ndarray):
        return (found,)
    names = [spec.name for spec in inputs if spec.name in found] or list(found)[: len(inputs)]
    return tuple(found[name] for name in names)


def _one_picture_input(manifest: Manifest, *, as_pixels: bool) -> tuple[tuple[int, int, int], Callable[[Array], Array]]:
    """Height, width and channels that the package takes, and what turns such pixels into what the source gives."""
    spec, preprocessing = input_codec.picture_input(manifest)
    shape = pictures.picture_shape(spec.shape, name=manifest.name)
    return shape, _pixel_converter(spec, preprocessing, as_pixels=as_pixels)


def _from_pictures(paths: tuple[Path, ...], manifest: Manifest, *, as_pixels: bool) -> Source:
    def fit(manifest: Manifest) -> Convert:
        shape, convert = _one_picture_input(manifest, as_pixels=as_pixels)
        return lambda path: (convert(pictures.read(path, shape)),)

    return Source(lambda: iter(paths), fit(manifest), fit=fit, is_live=False, gives_pixels=as_pixels)


def _camera(text: str, manifest: Manifest, *, as_pixels: bool) -> Source:
    input_codec.picture_input(manifest)  # before the camera is opened
    try:
        import cv2
    except ImportError as missing:
        raise errors.DeviceError(extras.need("a camera source", "cv2")) from missing
    number = text.removeprefix("camera:")
    if not number.isdigit():
        raise errors.SettingsError(f"source {text!r}: write camera:N with the camera's number, as camera:0")
    camera: Any = cv2.VideoCapture(int(number))
    if not camera.isOpened():
        raise errors.DeviceError(f"camera {number} cannot be opened; is /dev/video{number} there and readable?")

    def fit(manifest: Manifest) -> Convert:
        (height, width, channels), convert = _one_picture_input(manifest, as_pixels=as_pixels)
        code = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB

        def fitted(picture: Any) -> tuple[Array, ...]:
            pixels = cv2.resize(cv2.cvtColor(picture, code), (width, height), interpolation=cv2.INTER_AREA)
            return (convert(pixels.reshape(height, width, channels)),)

        return fitted

    def pictures_taken() -> Iterator[Any]:
        while True:
            is_read, picture = camera.read()
            if not is_read:
                raise errors.DeviceError(f"camera {number} gives no more pictures; was it unplugged?")
            yield picture

    convert = fit(manifest)
    return Source(pictures_taken, convert, fit=fit, is_live=True, gives_pixels=as_pixels, close=camera.release)
