"""Samples to calibrate with, from a folder of pictures, `.npy`/`.npz` arrays, or `.csv` rows.

The result is always real values: one array (samples, …) for each input of the model, in order. What is read, and what
its numbers mean, is `tflsplit.inputs.samples`' matter, as at the edge.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from converters.calibration import batchnorm
from converters.loading.inputs import Input
from converters.loading.model import LoadedModel
from tflsplit import arguments, text
from tflsplit.graph.tensors import Array, TensorSpec, dequantise
from tflsplit.inputs import samples as inputs_samples
from tflsplit.inputs.preprocessing import NAMED, Preprocessing

DEFAULT_LIMIT = 100  # TensorFlow's guide: "around 100-500 samples"; the ranges of activations settle well before


def read(
    source: Path | tuple[Array, ...],
    inputs: Sequence[Input],
    preprocessing: Preprocessing | None,
    *,
    limit: int = DEFAULT_LIMIT,
) -> tuple[Array, ...]:
    """Samples from a path or out of an array for each input, at most `limit`, spread evenly over what is there.

    Raises DataError naming the file, what was found in it and what was expected.
    """
    # Not quantised yet, so that what comes out are real values.
    specs = tuple(TensorSpec(entry.name, entry.shape, entry.dtype) for entry in inputs)
    return _columns(source, specs, preprocessing, limit)


def read_quantised(
    source: Path | tuple[Array, ...],
    specs: Sequence[TensorSpec],
    preprocessing: Preprocessing | None,
) -> tuple[Array, ...]:
    """As `read`, for a model that came quantised: also integers as it stores them; the real values that it can hold."""
    columns = _columns(source, specs, preprocessing, DEFAULT_LIMIT)
    return tuple(
        dequantise(column, spec) if spec.is_quantised else column for column, spec in zip(columns, specs, strict=True)
    )


def _columns(
    source: Path | tuple[Array, ...], specs: Sequence[TensorSpec], preprocessing: Preprocessing | None, limit: int
) -> tuple[Array, ...]:
    if isinstance(source, tuple):
        arrays = tuple(arguments.instance(array, np.ndarray, "calibration") for array in source)
        found = inputs_samples.Samples("calibration", arrays)
    else:
        found = inputs_samples.read(source, specs)
    convert = found.fit(specs, preprocessing)
    rows = [convert(found.row(index)) for index in _evenly(len(found), limit)]
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def name_of(source: Path | tuple[Array, ...]) -> str:
    return "arrays" if isinstance(source, tuple) else str(source)


def _evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` indices, evenly: sorted data (a folder a class) is sampled through all of it."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(count, limit)).round())]


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
