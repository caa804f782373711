"""Samples to calibrate with, from a folder of pictures, `.npy`/`.npz` arrays, or `.csv` rows.

The result is always real values: one float32 array (samples, …) for each input of the model, in order. Picture files
and uint8 pictures are pixels and go through the preprocessing; all other numbers are not changed.
"""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from converters.calibration import batchnorm
from converters.loading.inputs import Input
from converters.loading.model import LoadedModel
from tflsplit import arguments, errors, text
from tflsplit.graph.tensors import Array
from tflsplit.inputs import array_files, pictures
from tflsplit.inputs.preprocessing import NAMED, Preprocessing

DEFAULT_LIMIT = 100  # TensorFlow's guide: "around 100-500 samples"; the ranges of activations settle well before
_MOST_CSV_BYTES = 256 << 20  # each cell takes ten times its size while it is text


def read(
    source: Path | tuple[Array, ...],
    inputs: Sequence[Input],
    preprocessing: Preprocessing,
    *,
    limit: int = DEFAULT_LIMIT,
) -> tuple[Array, ...]:
    """Samples from a path or out of an array for each input, at most `limit`, spread evenly over what is there.

    Raises DataError naming the file, what was found in it and what was expected.
    """
    if isinstance(source, tuple):
        if len(source) != len(inputs):
            raise errors.DataError(f"calibration: {len(source)} arrays, the model takes {len(inputs)} inputs")
        arrays = [arguments.instance(array, np.ndarray, "calibration") for array in source]
        named = {entry.name: array for entry, array in zip(inputs, arrays, strict=True)}
        return _all_real(name_of(source), named, inputs, preprocessing, limit)
    path = source
    check_kind(path)
    if path.is_dir():
        return (_pictures(path, _only(inputs, path), preprocessing, limit),)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        found = _members(path, inputs)
    elif suffix == ".npy":
        found = {_only(inputs, path).name: array_files.read_npy(path)}
    elif suffix == ".csv":
        found = {_only(inputs, path).name: _rows(path, _only(inputs, path))}
    else:
        return (_picture(path, _only(inputs, path), preprocessing)[None],)
    return _all_real(str(path), found, inputs, preprocessing, limit)


def check_kind(path: Path) -> None:
    """DataError unless there is a file or a folder of a kind that `read` takes; nothing of it is read."""
    if not path.exists():
        raise errors.DataError(f"{path}: no such file or folder; give pictures, .npy, .npz or .csv")
    if path.is_dir():
        pictures.find(path)
    elif path.suffix.lower() not in (".npz", ".npy", ".csv", *pictures.SUFFIXES):
        raise errors.DataError(
            f"{path}: unknown kind {path.suffix.lower()!r}; expected a folder of pictures, .npy, .npz or .csv"
        )
    if not os.access(path, os.R_OK):
        raise errors.DataError(f"{path}: this user may not read it; give it the right, or other data")


def name_of(source: Path | tuple[Array, ...]) -> str:
    return "arrays" if isinstance(source, tuple) else str(source)


def _all_real(
    name: str, found: Mapping[str, Array], inputs: Sequence[Input], preprocessing: Preprocessing, limit: int
) -> tuple[Array, ...]:
    counts = {len(array) if array.ndim else 0 for array in found.values()}
    if len(counts) != 1:
        raise errors.DataError(f"{name}: its arrays have {sorted(counts)} samples; expected as many for each input")
    return tuple(_real(name, found[entry.name], entry, preprocessing, limit) for entry in inputs)


def _only(inputs: Sequence[Input], path: Path) -> Input:
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs)
        raise errors.DataError(
            f"{path}: the model has {len(inputs)} inputs ({names}); give an .npz with an array for each"
        )
    return inputs[0]


def _evenly(count: int, limit: int) -> Array:
    """At most `limit` of `count` indices, evenly: sorted data (a folder a class) is sampled through all of it."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(int)) if count else np.empty(0, int)


def _pictures(folder: Path, entry: Input, preprocessing: Preprocessing, limit: int) -> Array:
    files = pictures.find(folder)
    return np.stack([_picture(files[index], entry, preprocessing) for index in _evenly(len(files), limit)])


def _picture(file: Path, entry: Input, preprocessing: Preprocessing) -> Array:
    """One picture at the input's size, as real values (height, width, channels)."""
    return preprocessing.to_real(pictures.read(file, entry.shape))


def _members(path: Path, inputs: Sequence[Input]) -> Mapping[str, Array]:
    """An array for each input: by its name, else in the order of the file."""
    found = array_files.read_npz(path)
    wanted = [entry.name for entry in inputs]
    if set(wanted) <= set(found):
        return {name: found[name] for name in wanted}
    if len(found) == len(wanted):
        return dict(zip(wanted, found.values(), strict=True))
    raise errors.DataError(
        f"{path}: holds arrays {', '.join(found) or 'none'}; expected one for each input: {', '.join(wanted)}"
    )


def _rows(path: Path, entry: Input) -> Array:
    """Numbers (rows, values); a first row that holds no number at all is a header."""
    try:
        if path.stat().st_size > _MOST_CSV_BYTES:
            raise errors.DataError(f"{path}: has more than {_MOST_CSV_BYTES:,} bytes; keep its numbers as .npy")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as cause:
        raise errors.DataError(f"{path}: cannot be read as .csv ({cause})") from cause
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    expected = int(np.prod(entry.shape[1:]))
    for number, row in enumerate(rows, 1):
        if len(row) != expected or not all(_is_number(cell) for cell in row):
            raise errors.DataError(
                f"{path}: data row {number} is {len(row)} cells ({','.join(row)[:60]!r}); expected {expected} numbers"
            )
    return np.asarray(rows, np.float64).reshape(len(rows), *entry.shape[1:])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _real(name: str, array: Array, entry: Input, preprocessing: Preprocessing, limit: int) -> Array:
    """Some samples of an array, checked against the input, in real values."""
    if array.dtype.kind not in "fiub":
        raise errors.DataError(f"{name}: data of type {array.dtype}; expected numbers for input {entry.name!r}")
    if array.shape[1:] == entry.shape[1:-1] and entry.shape[-1] == 1:
        array = array[..., None]  # grey pictures are often kept without their channel axis
    if array.shape[1:] != entry.shape[1:]:
        expected = ", ".join(map(str, entry.shape[1:]))
        raise errors.DataError(
            f"{name}: found shape {array.shape}, expected (samples, {expected}) for input {entry.name!r}"
        )
    if not len(array):
        raise errors.DataError(f"{name}: holds no samples for input {entry.name!r}")
    chosen = array[_evenly(len(array), limit)]
    if not np.isfinite(chosen).all():
        raise errors.DataError(
            f"{name}: holds NaN or infinite values; expected finite numbers for input {entry.name!r}"
        )
    if chosen.dtype == np.uint8 and entry.is_picture:
        return preprocessing.to_real(chosen)
    return chosen.astype(entry.dtype)


_FEW = 16  # an activation's range that one picture in ten reaches is missed by 16 with a chance of 0.9**16 = 0.19
_NARROW = 0.05  # of the range that pixels can take
# By `batchnorm.distance`: data like a model's training data were seen at 0.03 and 0.1, photograph-like noise at up to
# 0.3, inverted digits at 0.9, wrongly scaled ones at 4.
_FAR = 0.6
_CLEARLY = 3.0  # another preprocessing is named only where it fits so many times better


def warnings(samples: Sequence[Array], model: LoadedModel, preprocessing: Preprocessing) -> tuple[str, ...]:
    """One line for each thing about the samples that looks wrong: reasons to look again, not to refuse."""
    found = list(_about_count(samples))
    for entry, array in zip(model.inputs, samples, strict=True):
        found += _about_values(entry, array, preprocessing)
    if not found and model.has_trained_normalisation:
        found += _about_statistics(model, samples, preprocessing)
    return tuple(found)


def _about_count(arrays: Sequence[Array]) -> Iterator[str]:
    count = len(arrays[0])
    if count < _FEW:
        yield (
            f"only {text.counted(count, 'sample')}: ranges that rarer inputs reach are cut off; "
            f"100 are usual, {_FEW} the least"
        )
    if count > 1 and all((array == array[:1]).all() for array in arrays):
        yield f"all {count} samples are the same: they calibrate as one"


def _about_values(entry: Input, array: Array, preprocessing: Preprocessing) -> Iterator[str]:
    low, high = float(array.min()), float(array.max())
    if low == high:
        yield f"input {entry.name!r} is {low:g} throughout: nothing can be calibrated on a constant"
    elif entry.is_picture:
        yield from _about_range(entry, low, high, preprocessing)


def _about_range(entry: Input, low: float, high: float, preprocessing: Preprocessing) -> Iterator[str]:
    least, most = preprocessing.real_range()
    span = most - least
    seen = f"input {entry.name!r} has values {low:g} to {high:g}"
    stated = f"preprocessing {preprocessing.name!r} gives {least:g} to {most:g}"
    if low >= 0 and 2 * span < high <= 255:
        yield f"{seen}, {stated}: these look like pixels kept as floats; save them as uint8, or divide them first"
    elif low < least - 0.05 * span or high > most + 0.05 * span:
        yield f"{seen}, {stated}: the data were prepared otherwise"
    elif high - low < _NARROW * span:
        yield f"{seen}, only a small part of what {stated}: were they scaled twice?"


def _about_statistics(model: LoadedModel, arrays: Sequence[Array], preprocessing: Preprocessing) -> Iterator[str]:
    distance = batchnorm.distance(model)
    own = distance(*arrays)
    if len(arrays) > 1 or not model.inputs[0].is_picture:
        if own > _FAR:
            yield f"the data are far (distance {own:.2g}) from what the batch normalisations saw in training"
        return
    pixels = _pixels(arrays[0], preprocessing)
    others = {
        name: distance(one.to_real(pixels)) for name, one in NAMED.items() if len(one.scale) in (1, pixels.shape[-1])
    }
    best = min(others, key=lambda name: others[name])
    if own > _CLEARLY * others[best]:
        yield (
            f"preprocessing {preprocessing.name!r} does not fit the statistics that training left in the batch "
            f"normalisations (distance {own:.2g}), {best!r} fits them better ({others[best]:.2g})"
        )
    elif own > _FAR:
        yield f"the data are far (distance {own:.2g}) from what the batch normalisations saw in training"


def _pixels(real: Array, preprocessing: Preprocessing) -> Array:
    """Back from real values to pixels 0..255 in RGB order."""
    pixels = (real - np.asarray(preprocessing.offset, np.float32)) / np.asarray(preprocessing.scale, np.float32)
    return pixels[..., ::-1] if preprocessing.channel_order == "bgr" else pixels
