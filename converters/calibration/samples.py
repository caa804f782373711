"""Samples to calibrate with, from a folder of pictures, `.npy`/`.npz` arrays, or `.csv` rows.

The result is always real values: one array (samples, …) for each input of the model, in order. What is read, and what
its numbers mean, is `tflsplit.inputs.samples`' matter, as at the edge.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from converters.calibration import first_layer, inference
from converters.loading.inputs import Input
from converters.loading.model import LoadedModel
from tflsplit import arguments, text
from tflsplit.graph.tensors import Array, TensorSpec, dequantise
from tflsplit.inputs import samples as inputs_samples
from tflsplit.inputs.preprocessing import NAMED, Preprocessing

CALIBRATING = 100  # TensorFlow's guide: "around 100-500 samples"; the ranges of activations settle well before
_MOST = 200  # with those that are held out
_MOST_BYTES = 256 << 20  # of samples beyond the first hundred
_LEAST_TO_SPLIT = 40  # a fifth of them are 8
_SHARE = 5


def read(
    source: Path | tuple[Array, ...],
    inputs: Sequence[Input],
    preprocessing: Preprocessing | None,
    *,
    limit: int = _MOST,
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
    columns = _columns(source, specs, preprocessing, CALIBRATING)
    return tuple(
        dequantise(column, spec) if spec.is_quantised else column for column, spec in zip(columns, specs, strict=True)
    )


def hold_out(samples: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Samples to calibrate on, and samples to measure on: the same, or of 40 and more a fifth that is kept apart, and
    all beyond a hundred."""
    count = len(samples[0])
    if count < _LEAST_TO_SPLIT:
        return samples, samples
    held_out = _evenly(count, max(count // _SHARE, count - CALIBRATING))
    kept = np.setdiff1d(np.arange(count), held_out)
    return tuple(array[kept] for array in samples), tuple(array[held_out] for array in samples)


def _columns(
    source: Path | tuple[Array, ...], specs: Sequence[TensorSpec], preprocessing: Preprocessing | None, limit: int
) -> tuple[Array, ...]:
    if isinstance(source, tuple):
        arrays = tuple(arguments.instance(array, np.ndarray, "calibration") for array in source)
        found = inputs_samples.Samples("calibration", arrays)
    else:
        found = inputs_samples.read(source, specs)
    convert = found.fit(specs, preprocessing)
    each = sum(4 * math.prod(spec.shape) for spec in specs)
    limit = min(limit, max(CALIBRATING, _MOST_BYTES // each))
    rows = [convert(found.row(index)) for index in _evenly(len(found), limit)]
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def name_of(source: Path | tuple[Array, ...]) -> str:
    """For a manifest, which is text: a name of other bytes with escapes in their place."""
    return "arrays" if isinstance(source, tuple) else text.printable(str(source))


def _evenly(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` indices, evenly: sorted data (a folder a class) is sampled through all of it."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(count, limit)).round())]


_FEW = 16  # an activation's range that one picture in ten reaches is missed by 16 with a chance of 0.9**16 = 0.19
_NARROW = 0.05  # of the range that pixels can take
_CLEARLY = 3.0  # another preprocessing is named only where it fits so many times better
_LOOKED_AT = 4  # samples; more do not change the order of preprocessings


def warnings(samples: Sequence[Array], model: LoadedModel, preprocessing: Preprocessing | None) -> tuple[str, ...]:
    """One line for each thing about the samples that looks wrong: reasons to look again, not to refuse."""
    found = list(_about_count(samples))
    for entry, array in zip(model.inputs, samples, strict=True):
        found += _about_values(entry, array, preprocessing)
    distance = _distance(model)
    if not found and distance is not None:
        found += _about_statistics(model, samples, preprocessing, distance)
    return tuple(found)


def _distance(model: LoadedModel) -> Callable[[Sequence[Array]], float] | None:
    """From samples to how far they are from what the model was trained on; None where it has no statistics of that."""
    look = first_layer.look_at(model)
    if look is None or not look.has_statistics:
        return None
    return lambda arrays: inference.distance(look.at([_few(array) for array in arrays]).normalisations)


def _few(array: Array) -> Array:
    few: Array = array[np.linspace(0, len(array) - 1, min(_LOOKED_AT, len(array))).round().astype(int)]
    return few


def _about_count(arrays: Sequence[Array]) -> Iterator[str]:
    count = len(arrays[0])
    if count < _FEW:
        yield (
            f"only {text.counted(count, 'sample')}: ranges that rarer inputs reach are cut off; "
            f"100 are usual, {_FEW} the least"
        )
    if count > 1 and all((array == array[:1]).all() for array in arrays):
        yield f"all {count} samples are the same: they calibrate as one"


def _about_values(entry: Input, array: Array, preprocessing: Preprocessing | None) -> Iterator[str]:
    low, high = float(array.min()), float(array.max())
    if low == high:
        yield f"input {entry.name!r} is {low:g} throughout: nothing can be calibrated on a constant"
    elif entry.is_picture and preprocessing is not None:
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


def _about_statistics(
    model: LoadedModel,
    arrays: Sequence[Array],
    preprocessing: Preprocessing | None,
    distance: Callable[[Sequence[Array]], float],
) -> Iterator[str]:
    own = distance(arrays)
    if own <= inference.FAR:
        return
    if preprocessing is not None and len(arrays) == 1 and model.inputs[0].is_picture:
        pixels = _pixels(_few(arrays[0]), preprocessing)
        others = {
            name: distance((one.to_real(pixels),))
            for name, one in NAMED.items()
            if len(one.scale) in (1, pixels.shape[-1])
        }
        best = min(others, key=lambda name: others[name])
        if own > _CLEARLY * others[best]:
            yield (
                f"preprocessing {preprocessing.name!r} does not fit the statistics that training left in the batch "
                f"normalisations (distance {own:.2g}), {best!r} fits them better ({others[best]:.2g})"
            )
            return
    yield f"the data are far (distance {own:.2g}) from what the batch normalisations saw in training"


def _pixels(real: Array, preprocessing: Preprocessing) -> Array:
    """Back from real values to pixels 0..255 in RGB order."""
    pixels = (real - np.asarray(preprocessing.offset, np.float32)) / np.asarray(preprocessing.scale, np.float32)
    return pixels[..., ::-1] if preprocessing.channel_order == "bgr" else pixels
