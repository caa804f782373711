"""Files and arrays as a model's inputs: one reader, so that a file means the same wherever it is given.

Calibration, proofs, profiles and the edge all read through here. What a number means follows from its type and from
the input that it is for: pixels, real values, or integers as the model stores them. The table of it is in
docs/inputs.md. The target is a `TensorSpec`: one that is not quantised gives real values.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array, TensorSpec, quantise
from tflsplit.inputs import array_files, pictures, tables
from tflsplit.inputs.preprocessing import NAMED, PixelTable, Preprocessing
from tflsplit.inputs.resizing import Resize
from tflsplit.values.classes import dataclass

ARRAYS = (".npy", ".npz", ".csv")
Convert = Callable[[Any], tuple[Array, ...]]
_One = Callable[[Any], Array]
Column: TypeAlias = "Array | Sequence[Path]"


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns of samples: arrays whose first axis counts them, or one column of picture files. `names` are those of an
    archive; without, columns belong to inputs by their order."""

    name: str
    columns: tuple[Column, ...]
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        counts = {0 if isinstance(column, np.ndarray) and not column.ndim else len(column) for column in self.columns}
        if len(counts) > 1:
            raise errors.DataError(
                f"{self.name}: its arrays have {sorted(counts)} samples; expected as many for each input"
            )
        if counts == {0}:
            raise errors.DataError(f"{self.name}: holds no samples")

    def __len__(self) -> int:
        return len(self.columns[0])

    def row(self, index: int) -> tuple[Any, ...]:
        """One sample of every column, not converted."""
        return tuple(column[index] for column in self.columns)

    def size(self, row: tuple[Any, ...]) -> tuple[int, int] | None:
        """Width and height of the picture file in a row; None where its pixels are the model's already."""
        (only, *others) = row
        return pictures.size(only) if isinstance(only, Path) and not others else None

    def picture(self, row: tuple[Any, ...]) -> "Path | Array | None":
        """What a person would see of a row: its picture file, or pixels; None where it is no picture."""
        (only, *others) = row
        if others or isinstance(only, Path):
            return only if not others else None
        is_pixels = isinstance(only, np.ndarray) and only.dtype == np.uint8
        return only if is_pixels and pictures.is_picture((1, *only.shape)) else None

    def fit(
        self, specs: Sequence[TensorSpec], preprocessing: Preprocessing | None, resize: Resize | None = None
    ) -> Convert:
        """What makes a row the inputs of `specs`, each of the spec's shape and type. Pictures are resized as the
        preprocessing says, where `resize` does not say it.

        DataError, here or from the conversion of a row, names what was found and what was expected.
        """
        places = self._places(specs)
        each = tuple(
            _converter(self.name, self.columns[place], spec, preprocessing, resize)
            for place, spec in zip(places, specs, strict=True)
        )
        return lambda row: tuple(convert(row[place]) for place, convert in zip(places, each, strict=True))

    def _places(self, specs: Sequence[TensorSpec]) -> tuple[int, ...]:
        if self.names is not None:
            return _by_name(self.name, self.names, [spec.name for spec in specs])
        if len(self.columns) != len(specs):
            names = ", ".join(spec.name for spec in specs)
            raise errors.DataError(
                f"{self.name}: {len(self.columns)} arrays, the model has {len(specs)} inputs ({names}); "
                "give an .npz with an array for each"
            )
        return tuple(range(len(specs)))


def check_kind(path: Path) -> None:
    """DataError unless there is a file or a folder of a kind that `read` takes; nothing of it is read."""
    if not path.exists():
        raise errors.DataError(f"{path}: no such file or folder; give pictures, .npy, .npz or .csv")
    if path.is_dir():
        pictures.find(path)
    elif path.suffix.lower() not in (*ARRAYS, *pictures.SUFFIXES, *pictures.NOT_READ):
        raise errors.DataError(
            f"{path}: unknown kind {path.suffix.lower()!r}; expected a folder of pictures, .npy, .npz or .csv"
        )
    if not os.access(path, os.R_OK):
        raise errors.DataError(f"{path}: this user may not read it; give it the right, or other data")


def read(path: Path, specs: Sequence[TensorSpec]) -> Samples:
    """The samples of a folder of pictures, one picture, a `.npy`, `.npz` or `.csv`. Only a `.csv` needs the specs: its
    cells have no shape. Pictures are opened one by one, when they are converted."""
    check_kind(path)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix not in ARRAYS:
        return Samples(str(path), (pictures.find(path) if path.is_dir() else (path,),))
    if suffix == ".csv":
        if len(specs) != 1:
            names = ", ".join(spec.name for spec in specs)
            raise errors.DataError(
                f"{path}: the model has {len(specs)} inputs ({names}); give an .npz with an array for each"
            )
        return Samples(str(path), (tables.read(path, specs[0].shape[1:]),))

    def inputs(names: tuple[str, ...]) -> Iterator[str]:
        return (names[place] for place in _by_name(str(path), names, [spec.name for spec in specs]))

    found = array_files.read(path, inputs)
    if not isinstance(found, Mapping):
        return Samples(str(path), (found,))
    return Samples(str(path), tuple(found.values()), tuple(found))


def _by_name(origin: str, found: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...]:
    """The place in `found` of each name in `wanted`. DataError names both lists if they do not match.

    Converters write names with other punctuation (`left-eye` becomes `left_eye`), so that counts only where it tells
    two apart. Order counts only where numpy chose the names.
    """
    if set(found) == {f"arr_{place}" for place in range(len(wanted))} and not set(found) & set(wanted):
        return tuple(found.index(f"arr_{place}") for place in range(len(wanted)))
    plain = [_plain(name) for name in found]
    places = [
        found.index(name) if name in found else plain.index(_plain(name)) if plain.count(_plain(name)) == 1 else None
        for name in wanted
    ]
    known = tuple(place for place in places if place is not None)
    if len(set(known)) != len(wanted):
        raise errors.DataError(
            f"{origin}: holds arrays {', '.join(found) or 'none'}; expected one for each input: {', '.join(wanted)}; "
            "name them so (order counts only for arr_0, arr_1 and so on)"
        )
    return known


def _plain(name: str) -> str:
    bare = re.sub(r":\d+$", "", name.removeprefix("serving_default_"))
    return re.sub(r"[^0-9A-Za-z]+", "_", bare)


def _converter(
    name: str, column: Column, spec: TensorSpec, preprocessing: Preprocessing | None, resize: Resize | None
) -> _One:
    if not isinstance(column, np.ndarray):
        return _of_pictures(name, spec, preprocessing, resize)
    if _without_ones(column.shape[1:]) != _without_ones(spec.shape):
        # Axes of one are often left out or added, as the channel of a grey picture; they order nothing.
        expected = ", ".join(map(str, spec.shape[1:]))
        raise errors.DataError(
            f"{name}: found shape {column.shape}, expected (samples, {expected}) for input {spec.name!r}"
        )
    convert = of_numbers(name, column.dtype, spec, preprocessing)
    return lambda row: np.ascontiguousarray(convert(np.asarray(row).reshape(spec.shape)))


def _of_pictures(name: str, spec: TensorSpec, preprocessing: Preprocessing | None, resize: Resize | None) -> _One:
    shape = pictures.picture_shape(spec.shape, name=name)
    if preprocessing is None and spec.is_quantised:
        raise _unknown_pixels(name, spec)
    convert = of_numbers(name, np.dtype(np.uint8), spec, preprocessing)
    how = resize or (preprocessing.resize if preprocessing else Resize.STRETCH)
    return lambda path: convert(pictures.read(path, shape, how).reshape(spec.shape))


def of_numbers(name: str, dtype: "np.dtype[Any]", spec: TensorSpec, preprocessing: Preprocessing | None) -> _One:
    """What makes numbers of a type, in the spec's shape, the stored ones. The rows of the table in docs/inputs.md."""
    takes_real = spec.is_quantised or np.dtype(spec.dtype).kind == "f"
    if dtype.kind not in "fiub":
        raise errors.DataError(f"{name}: data of type {dtype}; expected numbers for input {spec.name!r}")
    if dtype == np.uint8 and preprocessing is not None and pictures.is_picture(spec.shape):
        return _pixels(name, spec, preprocessing)
    if dtype == np.dtype(spec.dtype) and dtype.kind != "f":
        return lambda row: row
    if dtype == np.uint8 and takes_real and pictures.is_picture(spec.shape):
        raise _unknown_pixels(name, spec)
    if dtype.itemsize == 1 and dtype.kind in "iu" and takes_real:
        raise errors.DataError(
            f"{name}: {dtype} data for input {spec.name!r} of shape {spec.shape}, which could be stored integers or "
            "real values; save real values as float32 (uint8 is taken for the pixels of pictures, with a preprocessing)"
        )
    return (lambda row: _real(name, row, spec)) if takes_real else (lambda row: _whole(name, row, spec))


def _unknown_pixels(name: str, spec: TensorSpec) -> errors.DataError:
    return errors.DataError(
        f"{name}: uint8 data for input {spec.name!r}, and how the model takes pixels is unknown; say it when you "
        f"convert, with --preprocess ({', '.join(NAMED)} or SCALE,OFFSET), or give real values as float32"
    )


def _pixels(name: str, spec: TensorSpec, preprocessing: Preprocessing) -> _One:
    preprocessing.check_channels(spec, name=name)
    return PixelTable(preprocessing, spec).apply


def _real(name: str, row: Array, spec: TensorSpec) -> Array:
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and refused; for the scale, saturated
        real = row.astype(np.float32)
        if not np.isfinite(real).all():
            raise errors.DataError(
                f"{name}: holds NaN or infinite values; expected finite numbers for input {spec.name!r}"
            )
        return quantise(real, spec)


def _whole(name: str, row: Array, spec: TensorSpec) -> Array:
    """Whole numbers for an input of integers, as the ids of an embedding."""
    with np.errstate(invalid="ignore"):
        stored = row.astype(spec.dtype)
    if not (stored == row).all():
        raise errors.DataError(
            f"{name}: holds numbers that are not {spec.dtype}; expected whole ones for input {spec.name!r}"
        )
    return stored


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)
