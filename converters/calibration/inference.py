"""How a model takes pixels, measured on four photographs: what each way to scale them makes of its first layer.

Three measures, the surest first; none that is clear, and the answer is *unknown*. All are on a logarithmic scale, for
ways differ by factors.

1. Statistics: mean and deviation of what enters the first batch normalisations, against what training stored there.
2. Range: a model that scales its input, with whatever layers, makes one known range of it: 0..1, -1..1, or that of
   `torch` or `caffe`, or values around 0 with deviation 1.
3. Weights: where a batch normalisation was folded into the first layer, this puts out values around 0 of deviation 1.
   Only what takes pixels unscaled is so far from all else that it can be told.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path

import numpy as np

from converters.calibration import first_layer
from converters.calibration.first_layer import Look, Statistics, View
from converters.loading.inputs import Input
from converters.loading.model import LoadedModel
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.inputs import pictures
from tflsplit.inputs.preprocessing import NAMED, Preprocessing
from tflsplit.values.classes import dataclass

# Of `distance`. Of models of known truth (docs/preprocessing.md) the true way was at 0.11 to 0.27, also where
# handwritten digits were the training data, and the next one 2 to 45 times as far.
FAR = 0.45
_APART = 1.5

_RANGE_FAR, _RANGE_APART = 3.0, 1.0  # squared logarithms; another way is off by a factor, a shift, or both
_SAME_RANGE = 0.03  # of the range: 127.5 and 128 are both in use

_WEIGHTS_FAR, _WEIGHTS_APART = 2.5, 8.0
_RESULTS_FAR = 7.0  # logits vary by 0.2 to 40 over pictures

_PICTURES = Path(__file__).with_name("pictures")


class Measure(Enum):
    """What told a preprocessing."""

    STATISTICS = "statistics"
    RANGE = "range"
    WEIGHTS = "weights"
    TYPE = "type of the input"


@dataclass(frozen=True, slots=True)
class Inference:
    """The way that was found, None where it is unknown; `nearest` is the best guess all the same, `reason` is for
    people."""

    preprocessing: Preprocessing | None
    nearest: Preprocessing
    reason: str
    measure: Measure | None = None


def infer(model: LoadedModel) -> Inference:
    """How a model takes pixels. One that takes none takes its values as they stand."""
    if not any(entry.is_picture for entry in model.inputs):
        return _known("raw", Measure.TYPE, "the model takes no pictures: values are taken as they stand")
    if len(model.inputs) > 1:
        return _unknown("unit", "a model of several inputs is not measured")
    look = first_layer.look_at(model)
    if look is None:
        return _unknown("unit", "the model has no layer with weights to measure at")
    (entry,) = model.inputs
    if entry.dtype == "uint8":
        return _known("raw", Measure.TYPE, "its input is uint8: pixels as they are")
    pixels = photographs(entry)
    ways = {name: way for name, way in NAMED.items() if len(way.scale) in (1, entry.shape[-1])}
    real = {name: way.to_real(pixels).astype(entry.dtype) for name, way in ways.items()}
    views = {name: look.at((values,)) for name, values in real.items()}
    by_statistics = _by_statistics(views) if look.has_statistics else None
    if by_statistics is not None and by_statistics.preprocessing is not None:
        return by_statistics
    return _by_range(look, entry, ways) or by_statistics or _by_weights(views, lambda name: look.results((real[name],)))


def of_stored(spec: TensorSpec) -> Inference:
    """How a quantised model takes pixels, by the range of real values that its input can hold."""
    limits = np.iinfo(spec.dtype)
    low, high = ((end - spec.zero_point) * spec.scale for end in (int(limits.min), int(limits.max)))
    ends = (np.full(1, low), np.full(1, high))
    for name, way in NAMED.items():
        least, most = way.real_range()
        if _is_near(ends, np.full(1, least), np.full(1, most)):
            is_the_same = max(abs(low - least), abs(high - most)) <= 1.01 * spec.scale and len(way.scale) == 1
            # Each level of pixels is then a step of the input.
            taken = Preprocessing("as-stored", (spec.scale,), (low,)) if is_the_same else way
            return Inference(taken, way, f"its input holds {low:.4g} to {high:.4g}, as of {name!r}", Measure.RANGE)
    return _unknown("raw", f"its input holds {low:.4g} to {high:.4g}, which no known preprocessing gives")


def are_alike(one: Preprocessing, other: Preprocessing) -> bool:
    """Whether two ways give the same values, as nearly as these are written differently (127.5 and 128)."""
    if one.channel_order != other.channel_order:
        return False
    return _is_range(_range(one, np.ones(1), np.zeros(1)), other)


def photographs(entry: Input) -> Array:
    """Pixels (4, height, width, channels) in the size that an input takes."""
    return np.stack([pictures.read(path, entry.shape[1:]) for path in pictures.find(_PICTURES)])


def distance(seen: Sequence[Statistics]) -> float:
    """How far data are from those of the training; each normalisation counts by the median of its channels, for some
    are dead."""
    return float(np.mean([np.median(_off(one)) for one in seen]))


def _off(seen: Statistics) -> Array:
    stored = np.maximum(seen.stored_deviation, 1e-6)
    return _away(seen.deviation / stored, (seen.mean - seen.stored_mean) / stored)


def _away(deviation: Array, mean: Array) -> Array:
    """How far values are from having mean 0 and deviation 1."""
    away: Array = np.square(np.log(np.maximum(deviation, 1e-6))) + np.log1p(np.square(mean))
    return away


def _by_statistics(views: Mapping[str, View]) -> Inference:
    distances = {name: distance(view.normalisations) for name, view in views.items()}
    best, second = _order(distances)[:2]
    told = (
        f"distance {distances[best]:.2f} from what the batch normalisations saw in training, "
        f"next {second!r} at {distances[second]:.2f}"
    )
    if distances[best] <= FAR and distances[second] >= _APART * distances[best]:
        return _known(best, Measure.STATISTICS, told)
    return _unknown(best, f"nearest is {best!r}, at {told}; far is above {FAR}")


def _by_range(look: Look, entry: Input, ways: Mapping[str, Preprocessing]) -> Inference | None:
    """By what becomes of black and of white; None where the model leaves them as they are."""
    ends = np.stack([np.full(entry.shape[1:], level, entry.dtype) for level in (0, 255)])
    entering = look.at((ends,)).entering
    # Padding is not of the picture: the middle value. Dense layers take all channels in one row.
    entering = entering.reshape(2, -1, entering.shape[-1] if entering.shape[-1] == entry.shape[-1] else 1)
    black, white = np.median(entering, axis=1)
    step = (white - black) / 255
    if np.allclose(step, 1, atol=1e-3) and np.allclose(black, 0, atol=1e-3):
        return None
    ranges = {name: _range(way, step, black) for name, way in ways.items()}
    for name, made in ranges.items():
        same = next((known for known, way in NAMED.items() if known != "raw" and _is_range(made, way)), None)
        if same is not None:
            told = f"the model scales its input itself: {name!r} becomes {same!r} inside"
            return _known(name, Measure.RANGE, told)
    # Photographs have their mean at 0.4 of the range and a deviation of 0.25 of it. Shifted pixels are no other scale.
    away = {
        name: float(np.median(_away((high - low) * 0.25, low + (high - low) * 0.4)))
        for name, (low, high) in ranges.items()
        if name != "caffe"
    }
    best, second = _order(away)[:2]
    told = (
        f"the model scales its input itself: {best!r} becomes values around 0 of deviation 1 (off by {away[best]:.2f}"
    )
    if away[best] <= _RANGE_FAR and away[second] - away[best] >= _RANGE_APART:
        return Inference(NAMED[best], NAMED[best], f"{told}, next {second!r} by {away[second]:.2f})")
    return _unknown(best, "the model scales its input, to no range that is known")


def _range(way: Preprocessing, step: Array, black: Array) -> tuple[Array, Array]:
    """What black and white become, an entry a channel."""
    scale, offset = np.asarray(way.scale), np.asarray(way.offset)
    return black + step * offset, black + step * (255 * scale + offset)


def _is_range(made: tuple[Array, Array], way: Preprocessing) -> bool:
    return _is_near(made, np.asarray(way.offset), np.asarray(way.offset) + 255 * np.asarray(way.scale))


def _is_near(made: tuple[Array, Array], low: Array, high: Array) -> bool:
    room = _SAME_RANGE * (high - low)
    return bool(np.all(np.abs(made[0] - low) <= room) and np.all(np.abs(made[1] - high) <= room))


def _by_weights(views: Mapping[str, View], results: Callable[[str], Array]) -> Inference:
    away = {name: _off_of_standard(view.leaving) for name, view in views.items()}
    best, second = _order(away)[:2]
    is_told = away[best] <= _WEIGHTS_FAR and away[second] - away[best] >= _WEIGHTS_APART
    if is_told and _are_sane(results(best)):
        return _known(
            best,
            Measure.WEIGHTS,
            "its first layer then puts out values around 0 of deviation 1 "
            f"(off by {away[best]:.2f}, next {second!r} by {away[second]:.2f})",
        )
    likely = "unit" if away["unit"] < away[best] + _WEIGHTS_APART else best  # the commonest of those that may be
    return _unknown(likely, "it has no batch normalisation to measure at, and its weights fit several ways")


def _are_sane(results: Array) -> bool:
    deviation = float(np.sqrt(results.reshape(len(results), -1).var(0).mean()))
    return bool(np.log(max(deviation, 1e-9) / 3) ** 2 <= _RESULTS_FAR)


def _off_of_standard(values: Array) -> float:
    axes = tuple(range(values.ndim - 1))
    deviation = np.maximum(values.std(axes), 1e-9)
    return float(np.mean(_away(deviation, values.mean(axes) / deviation)))  # channels that a wrong way kills count


def _order(distances: Mapping[str, float]) -> list[str]:
    return sorted(distances, key=lambda name: distances[name])


def _known(name: str, measure: Measure, reason: str) -> Inference:
    return Inference(NAMED[name], NAMED[name], reason, measure)


def _unknown(nearest: str, reason: str) -> Inference:
    return Inference(None, NAMED[nearest], reason)
