"""Where inputs come from: a folder of pictures, a `.npy` or `.npz` file, a camera, or any Python iterable.

Each gives the model's inputs in their stored type, ready for the head, with the time they were captured. Nothing here
runs a model or sends anything.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors, pictures
from tflsplit.manifest import Manifest
from tflsplit.preprocessing import PixelTable, Preprocessing
from tflsplit.tensors import Array, TensorSpec, quantise


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the model: its arrays in stored type, and when they were captured (ns since the epoch)."""

    arrays: tuple[Array, ...]
    captured_ns: int


class Source:
    """Inputs one after the other; closing it frees a camera or a file.

    `make` is called anew for each pass over the data, so that a bounded source can be repeated.
    """

    def __init__(
        self,
        make: Callable[[], Iterator[tuple[Array, ...]]],
        *,
        is_live: bool,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._make = make
        self.is_live = is_live
        self.close = close

    def inputs(self, *, repeats: bool = False, clock: Callable[[], int] = time.time_ns) -> Iterator[Input]:
        """Every input, stamped when it was taken; with `repeats` a source that ends begins again."""
        passes: Iterable[int] = cycle((0,)) if repeats and not self.is_live else (0,)
        for _ in passes:
            captured_ns = clock()
            for arrays in self._make():
                yield Input(arrays, captured_ns)
                captured_ns = clock()


def open_source(text: str, manifest: Manifest) -> Source:
    """`text` is a folder of pictures, a picture, a `.npy`/`.npz` file or `camera:N`.

    Raises DataError naming the source, what was found in it and what the model takes.
    """
    if text.startswith("camera:"):
        return _camera(text, manifest)
    path = Path(text)
    if path.suffix in (".npy", ".npz"):
        return from_arrays(_load(path, manifest.inputs), manifest, name=str(path))
    if path.is_dir() or path.suffix.lower() in pictures.SUFFIXES:
        return _from_pictures(pictures.find(path) if path.is_dir() else (path,), manifest)
    raise errors.DataError(f"source {text!r}: not a folder of pictures, a picture, a .npy/.npz file or camera:N")


def from_iterable(make: Callable[[], Iterator[tuple[Array, ...]]], *, is_live: bool = True) -> Source:
    """Inputs from Python: `make()` gives tuples of arrays that are already in the model's stored types and shapes."""
    return Source(make, is_live=is_live)


def from_arrays(columns: tuple[Array, ...], manifest: Manifest, *, name: str) -> Source:
    """One array per model input, the first axis being the frames.

    uint8 arrays are pixels and go through the package's preprocessing if it has one, floats are the model's real values,
    and other arrays of an input's own type are taken as stored.
    """
    if len(columns) != len(manifest.inputs):
        raise errors.DataError(f"{name}: {len(columns)} arrays, the model takes {len(manifest.inputs)} inputs")
    counts = {len(column) for column in columns}
    if len(counts) != 1 or counts == {0}:
        raise errors.DataError(
            f"{name}: its arrays hold {sorted(counts)} frames; each must hold the same number, not 0"
        )
    convert = [
        _converter(spec, column, manifest.preprocessing, name)
        for spec, column in zip(manifest.inputs, columns, strict=True)
    ]

    def rows() -> Iterator[tuple[Array, ...]]:
        for row in zip(*columns, strict=True):
            yield tuple(one(entry) for one, entry in zip(convert, row, strict=True))

    return Source(rows, is_live=False)


def _converter(
    spec: TensorSpec, column: Array, preprocessing: Preprocessing | None, name: str
) -> Callable[[Array], Array]:
    row_shape = column.shape[1:]
    if _without_ones(row_shape) != _without_ones(spec.shape):
        raise errors.DataError(f"{name}: frames of shape {row_shape}, model input {spec.name!r} takes {spec.shape[1:]}")
    if column.dtype == np.uint8 and preprocessing is not None:
        table = PixelTable(preprocessing, spec)
        return lambda row: table.apply(row).reshape(spec.shape)
    if column.dtype == np.dtype(spec.dtype):
        return lambda row: np.ascontiguousarray(row).reshape(spec.shape)
    if np.issubdtype(column.dtype, np.floating):
        return lambda row: quantise(row, spec).reshape(spec.shape)
    raise errors.DataError(
        f"{name}: {column.dtype} data for model input {spec.name!r} ({spec.dtype}); give pixels (uint8) or floats"
    )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)


def _load(path: Path, inputs: tuple[TensorSpec, ...]) -> tuple[Array, ...]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return (loaded,)
        with loaded:
            names = [spec.name for spec in inputs if spec.name in loaded.files] or loaded.files[: len(inputs)]
            return tuple(loaded[name] for name in names)
    except (OSError, ValueError, EOFError) as cause:
        raise errors.DataError(f"source {path}: cannot be read as numpy arrays ({cause})") from cause


def _one_picture_input(manifest: Manifest) -> tuple[TensorSpec, PixelTable]:
    if len(manifest.inputs) != 1 or manifest.preprocessing is None:
        raise errors.DataError(
            f"package {manifest.name}: takes no plain pictures ({len(manifest.inputs)} inputs, preprocessing "
            f"{manifest.preprocessing.name if manifest.preprocessing else 'not stated'}); give a .npy or .npz source"
        )
    return manifest.inputs[0], PixelTable(manifest.preprocessing, manifest.inputs[0])


def _from_pictures(paths: tuple[Path, ...], manifest: Manifest) -> Source:
    spec, table = _one_picture_input(manifest)
    shape = pictures.picture_shape(spec.shape, name=manifest.name)

    def rows() -> Iterator[tuple[Array, ...]]:
        for path in paths:
            yield (table.apply(pictures.read(path, shape)).reshape(spec.shape),)

    return Source(rows, is_live=False)


def _camera(text: str, manifest: Manifest) -> Source:
    spec, table = _one_picture_input(manifest)
    height, width, channels = pictures.picture_shape(spec.shape, name=text)
    try:
        import cv2
    except ImportError as missing:
        raise errors.DeviceError("a camera source needs OpenCV: pip install opencv-python-headless") from missing
    number = text.removeprefix("camera:")
    if not number.isdigit():
        raise errors.SettingsError(f"source {text!r}: write camera:N with the camera's number, as camera:0")
    camera: Any = cv2.VideoCapture(int(number))
    if not camera.isOpened():
        raise errors.DeviceError(f"camera {number} cannot be opened; is /dev/video{number} there and readable?")

    def rows() -> Iterator[tuple[Array, ...]]:
        while True:
            is_read, picture = camera.read()
            if not is_read:
                raise errors.DeviceError(f"camera {number} gives no more pictures; was it unplugged?")
            code = cv2.COLOR_BGR2GRAY if channels == 1 else cv2.COLOR_BGR2RGB
            pixels = cv2.resize(cv2.cvtColor(picture, code), (width, height), interpolation=cv2.INTER_AREA)
            yield (table.apply(pixels.reshape(height, width, channels)).reshape(spec.shape),)

    return Source(rows, is_live=True, close=camera.release)
