"""Layers of keras.applications, and names of other packages for what Keras has."""

from importlib import import_module

import numpy as np
import pytest

from converters.loading import formats, quiet


def _scaled(keras):
    convnext = import_module(f"{keras.__name__}.src.applications.convnext")
    inception = import_module(f"{keras.__name__}.src.applications.inception_resnet_v2")
    layers = keras.layers
    entry = keras.Input((8, 8, 4))
    x = convnext.LayerScale(0.5, 4, name="gamma")(layers.Conv2D(4, 1)(entry))
    x = convnext.StochasticDepth(0.2)(x)
    x = inception.CustomScaleLayer(0.17)([entry, x])
    return keras.Model(entry, layers.Dense(2)(layers.Flatten()(x)))


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_layers_of_convnext_and_inception_resnet_open(either_keras, saved, name):
    with quiet.silenced():
        model = _scaled(either_keras)
        sample = np.random.default_rng(0).random((1, 8, 8, 4), np.float32)
        expected = np.asarray(model(sample, training=False))
    np.testing.assert_allclose(formats.load(saved(model, name)).predict([sample])[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_names_of_other_packages_for_what_keras_has_are_known(either_keras, saved, name):
    keras = either_keras

    class FixedDropout(keras.layers.Dropout):
        """As the package efficientnet writes it."""

    def h_swish(x):
        return x * quiet.tensorflow().nn.relu6(x + 3.0) / 6.0

    with quiet.silenced():
        entry = keras.Input((4,))
        x = FixedDropout(0.2)(keras.layers.Dense(8, activation=h_swish)(entry))
        model = keras.Model(entry, keras.layers.Dense(2)(x))
        expected = np.asarray(model(np.ones((1, 4), np.float32), training=False))
    found = formats.load(saved(model, name)).predict([np.ones((1, 4), np.float32)])[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
