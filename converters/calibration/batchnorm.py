"""How far data are from those that a model was trained on, by the statistics in its batch normalisations."""

from collections.abc import Callable
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

    def total(*tensors: Any) -> Any:
        return tf.add_n([mismatch(tf, one) for one in model.normalisations(*tensors)[:_FIRST]]) / _FIRST

    with quiet.silenced():
        function = tf.function(total, autograph=False).get_concrete_function(*model.specs(tf, batch=BATCH))

    def measured(*arrays: Array) -> float:
        chosen = [array[np.linspace(0, len(array) - 1, BATCH).round().astype(int)] for array in arrays]
        return float(function(*[tf.constant(array) for array in chosen]))

    return measured
