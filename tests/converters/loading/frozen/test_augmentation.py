"""Layers that draw random numbers are left out where they only change what goes through them, and said."""

import numpy as np
import pytest

from converters.loading import formats, quiet
from tflsplit import errors


def _exported(model, folder):
    with quiet.silenced():
        model.export(folder)
    return formats.load(folder)


def test_augmentation_in_an_export_of_keras_is_left_out_and_named(either_keras, tmp_path):
    layers = either_keras.layers
    pixels = either_keras.Input((16, 16, 3))
    x = layers.RandomContrast(0.5, name="contrasting")(layers.RandomRotation(0.1)(layers.RandomFlip()(pixels)))
    model = either_keras.Model(pixels, layers.Dense(4)(layers.Flatten()(x)))
    loaded = _exported(model, tmp_path)
    sample = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)

    (found,) = loaded.predict([sample])

    with quiet.silenced():
        expected = model.predict(sample, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert len(loaded.trace.notes) == 3
    assert any("'contrasting" in note and "was left out" in note for note in loaded.trace.notes)


def test_random_numbers_that_stand_for_themselves_are_refused(keras, tmp_path):
    class Sampling(keras.layers.Layer):
        """Of a variational auto-encoder: what it draws is scaled by a second input."""

        def __init__(self, **words):
            super().__init__(**words)
            self.seeds = keras.random.SeedGenerator(1)

        def call(self, both):
            mean, deviation = both
            return mean + deviation * keras.random.normal((1, 3), seed=self.seeds)

    given = keras.Input((4,))
    drawn = Sampling(name="sampling")([keras.layers.Dense(3)(given), keras.layers.Dense(3)(given)])
    with pytest.raises(errors.ModelError, match=r"'sampling\S*' draws random numbers .*give the \.keras"):
        _exported(keras.Model(given, keras.layers.Dense(2)(drawn)), tmp_path)
