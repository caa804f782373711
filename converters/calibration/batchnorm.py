"""How far data are from those that a model was trained on, by the statistics in its batch normalisations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.loading import quiet
from converters.loading.model import LoadedModel, Normalisation
from tflsplit.graph.tensors import Array

BATCH = 4  # samples for a distance; more do not change the order of preprocessings
_FIRST = 3  # normalisations looked at: near the input they tell its scale, deeper ones tell its content


def mismatch(tf: Any, entry: Normalisation) -> Any:
    """Distance of mean and deviation from the stored ones, in stored deviations, averaged over channels."""
    mean, variance = tf.nn.moments(entry.source, axes=list(range(len(entry.source.shape) - 1)))
    stored_deviation = tf.sqrt(tf.convert_to_tensor(entry.variance) + 1e-5)
    off_mean = (mean - tf.convert_to_tensor(entry.mean)) / stored_deviation
    off_deviation = tf.sqrt(variance + 1e-5) / stored_deviation - 1.0
    return tf.reduce_mean(tf.square(off_mean) + tf.square(off_deviation))


def distance(model: LoadedModel) -> Callable[..., float]:
    """A function from samples (one array of real values for each input) to their distance from the stored statistics.

    In squared stored deviations, averaged over channels: below 1 is usual for data of the right kind.
    """
    tf = quiet.tensorflow()

    def seen(*tensors: Any) -> Any:
        found = []
        for entry in model.normalisations(*tensors)[:_FIRST]:
            axes = list(range(len(entry.source.shape) - 1))
            moments = [tf.reduce_mean(power, axis=axes) for power in (entry.source, tf.square(entry.source))]
            found.append((*moments, tf.convert_to_tensor(entry.mean), tf.convert_to_tensor(entry.variance)))
        return found

    with quiet.silenced():  # for one sample at a time: a model may take no other batch
        function = tf.function(seen, autograph=False).get_concrete_function(*model.specs(tf))

    def measured(*arrays: Array) -> float:
        places = np.linspace(0, len(arrays[0]) - 1, BATCH).round().astype(int)
        rows = [function(*[tf.constant(array[place : place + 1]) for array in arrays]) for place in places]
        return sum(map(_mismatch, zip(*rows, strict=True))) / _FIRST

    return measured


def _mismatch(rows: Sequence[Any]) -> float:
    """As `mismatch`, from what `seen` gives of one normalisation for each sample."""
    mean, square, stored_mean, variance = np.asarray(rows, np.float64).mean(axis=0)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0) + 1e-5)
    stored_deviation = np.sqrt(variance + 1e-5)
    off_mean = (mean - stored_mean) / stored_deviation
    return float(np.mean(off_mean**2 + (deviation / stored_deviation - 1.0) ** 2))
