"""Parts that act in training alone do not keep a model from opening."""

import json

import numpy as np
import pytest

from converters.amending import training_parts
from converters.loading import formats, quiet


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_an_initialiser_regulariser_or_constraint_of_the_authors_own_is_left_out(either_keras, saved, name):
    keras = either_keras

    class Mine(keras.regularizers.Regularizer):
        def __call__(self, weights):
            return 0.0

        def get_config(self):
            return {}

    class Bounded(keras.constraints.Constraint):
        def __call__(self, weights):
            return weights

    def ones(shape, dtype=None):
        return np.ones(shape, np.float32)

    with quiet.silenced():
        layer = keras.layers.Dense(
            3, kernel_initializer=ones, kernel_regularizer=Mine(), kernel_constraint=Bounded(), name="made"
        )
        entry = keras.Input((4,))
        model = keras.Model(entry, layer(entry))
        expected = np.asarray(model(np.ones((1, 4), np.float32)))
    np.testing.assert_allclose(formats.load(saved(model, name)).predict([np.ones((1, 4), np.float32)])[0], expected)


def test_what_keras_has_itself_is_left_as_it_is(either_keras):
    keras = either_keras
    layer = keras.layers.Conv2D(
        3, 3, kernel_initializer="he_normal", kernel_regularizer="l2", bias_constraint=keras.constraints.NonNeg()
    )
    config = json.loads(json.dumps(layer.get_config(), default=lambda one: one.get_config()))
    assert training_parts.left_out(config) == (config, False)
