"""Calibration samples for a model without data.

Where the model has batch normalisation, noise is *distilled*: moved by gradient descent until the statistics of what
enters each normalisation match those that training stored there (ZeroQ: Cai et al., arXiv 2001.00281). Ranges of
activations then come out near those of real data. Without it, noise over the input's range has to do.
"""

import math
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from converters.loading import quiet
from converters.loading.inputs import Input
from converters.loading.model import LoadedModel, Normalisation
from tflsplit.graph.tensors import Array
from tflsplit.inputs.preprocessing import Preprocessing

SEED = 20200101  # fixed, so that two conversions of one file give one package
COUNT = 16


class Origin(Enum):
    """How samples were synthesised; the value is for people."""

    DISTILLED = "distilled from batch-normalisation statistics"
    NOISE = "noise"


def synthesise(
    model: LoadedModel, preprocessing: Preprocessing, *, count: int = COUNT, seed: int = SEED, distils: bool = True
) -> tuple[tuple[Array, ...], Origin]:
    """`count` samples, one array of real values for each input, and how they were made: noise unless `distils`."""
    rng = np.random.default_rng(seed)
    sizes = model.table_sizes
    noise = tuple(_noise(entry, preprocessing, count, rng, sizes.get(entry.name, 2)) for entry in model.inputs)
    if (
        not distils
        or not model.has_trained_normalisation
        or not all(entry.dtype == "float32" for entry in model.inputs)
    ):
        return noise, Origin.NOISE
    return _distilled(model, noise, preprocessing), Origin.DISTILLED


def _noise(entry: Input, preprocessing: Preprocessing, count: int, rng: np.random.Generator, table_size: int) -> Array:
    if entry.dtype != "float32":  # indices, of words or categories
        return rng.integers(0, table_size, (count, *entry.shape[1:])).astype(entry.dtype)
    if entry.is_picture:
        return preprocessing.to_real(picture_noise(count, entry.shape[1:], rng))
    # A vector or series has no pixels behind it; standardised features are the commonest convention.
    return rng.standard_normal((count, *entry.shape[1:])).astype(np.float32)


def picture_noise(count: int, shape: Sequence[int], rng: np.random.Generator) -> Array:
    """Pixels 0..255 (count, height, width, channels) with the statistics of photographs, which white noise lacks.

    Amplitude falls as 1/frequency; channels are correlated by 0.9; each picture has its own brightness and contrast.
    """
    height, width, channels = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width))
    white = rng.standard_normal((count, height, width, channels + 1)).astype(np.float32)
    mixed = math.sqrt(0.9) * white[..., :1] + math.sqrt(0.1) * white[..., 1:]
    spectrum = np.fft.rfft2(mixed, axes=(1, 2)) * amplitude[None, :, :, None]
    coloured = np.fft.irfft2(spectrum, (height, width), axes=(1, 2))
    coloured -= coloured.mean((1, 2, 3), keepdims=True)
    coloured /= coloured.std((1, 2, 3), keepdims=True) + 1e-9
    # ImageNet's pixels have mean 116 and deviation 58; pictures differ from each other by about half of that.
    brightness = rng.normal(116, 29, (count, 1, 1, 1))
    contrast = rng.uniform(29, 87, (count, 1, 1, 1))
    return np.clip(coloured * contrast + brightness, 0, 255).astype(np.float32)


# What a distillation may cost in multiply-accumulates, so that it does not depend on the machine: 10 to 20 s on two
# cores, which do about 10 G a second of MobileNetV2's depthwise kind, forward and backward together counted as three.
_WORK_MACS = 150e9
# A Teachable Machine MobileNetV2 gained up to 12 steps and nothing beyond 25 (SQNR on photographs 21.1 dB; noise 16.7).
_LEAST_STEPS, _MOST_STEPS = 6, 24
_LEAST_COUNT = 4


def _affordable(macs: int, count: int) -> tuple[int, int]:
    """How many samples, and how many steps, the work allows."""
    while count > _LEAST_COUNT and 3 * macs * count * _LEAST_STEPS > _WORK_MACS:
        count //= 2
    steps = int(_WORK_MACS / (3 * max(1, macs) * count))
    return count, min(max(steps, _LEAST_STEPS), _MOST_STEPS)


def _distilled(model: LoadedModel, noise: Sequence[Array], preprocessing: Preprocessing) -> tuple[Array, ...]:
    """Noise moved so that the model's normalisations see what they saw in training."""
    tf = quiet.tensorflow()
    count, steps = _affordable(model.macs, len(noise[0]))
    low, high = preprocessing.real_range()
    with quiet.silenced():
        descend = tf.function(_gradient(tf, model), autograph=False).get_concrete_function(
            *model.specs(tf, batch=count)
        )
        samples = [array[:count].copy() for array in noise]
        # A tenth of the half range of a picture, of the deviation of standardised features.
        rates = [0.05 * (high - low) if entry.is_picture else 0.1 for entry in model.inputs]
        optimisers = [_Adam(array.shape, rate) for array, rate in zip(samples, rates, strict=True)]
        for step in range(steps):
            gradients = descend(*[tf.constant(array) for array in samples])
            for position, (gradient, optimiser) in enumerate(zip(gradients, optimisers, strict=True)):
                samples[position] -= optimiser.move(gradient.numpy(), 1 - step / steps)
                if model.inputs[position].is_picture:
                    np.clip(samples[position], low, high, out=samples[position])
    return tuple(samples)


def _gradient(tf: Any, model: LoadedModel) -> Any:
    def gradient(*tensors: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = tf.add_n([_mismatch(tf, entry) for entry in model.normalisations(*tensors)])
        return tape.gradient(loss, list(tensors), unconnected_gradients="zero")

    return gradient


def _mismatch(tf: Any, entry: Normalisation) -> Any:
    """Distance of mean and deviation from the stored ones, in stored deviations, averaged over channels."""
    mean, variance = tf.nn.moments(entry.source, axes=list(range(len(entry.source.shape) - 1)))
    stored_deviation = tf.sqrt(tf.convert_to_tensor(entry.variance) + 1e-5)
    off_mean = (mean - tf.convert_to_tensor(entry.mean)) / stored_deviation
    off_deviation = tf.sqrt(variance + 1e-5) / stored_deviation - 1.0
    return tf.reduce_mean(tf.square(off_mean) + tf.square(off_deviation))


class _Adam:
    """Kingma & Ba's optimiser, arXiv 1412.6980, with its usual constants."""

    def __init__(self, shape: Sequence[int], rate: float) -> None:
        self._rate = rate
        self._first, self._second = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._steps = 0

    def move(self, gradient: Array, share: float) -> Array:
        """What to subtract; `share` of the rate is used."""
        self._steps += 1
        self._first += 0.1 * (gradient - self._first)
        self._second += 0.001 * (gradient**2 - self._second)
        first = self._first / (1 - 0.9**self._steps)
        second = self._second / (1 - 0.999**self._steps)
        moved: Array = (self._rate * share * first / (np.sqrt(second) + 1e-12)).astype(np.float32)
        return moved
