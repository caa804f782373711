"""A Lambda layer that only scales is replaced on the word of whoever gives the file; its code never runs."""

import numpy as np
import pytest

from converters.loading import formats, quiet
from tflsplit import errors


def _driving(keras):
    """As the models of Udacity's course begin."""
    layers = keras.layers
    first = keras.Input((16, 16, 3))
    x = layers.Lambda(lambda x: x / 127.5 - 1.0, output_shape=(16, 16, 3), name="scaling")(first)
    return keras.Model(first, layers.Dense(1)(layers.Flatten()(layers.Conv2D(4, 3, activation="elu")(x))))


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_a_replaced_lambda_computes_what_was_said(either_keras, saved, name):
    with quiet.silenced():
        model = _driving(either_keras)
        sample = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.float32)
        expected = np.asarray(model(sample, training=False))
    loaded = formats.load(saved(model, name), scales={"scaling": (1 / 127.5, -1.0)})

    np.testing.assert_allclose(loaded.predict([sample])[0], expected, atol=1e-5)
    assert loaded.notes == ("layer 'scaling' became x * 0.00784314 + -1",)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_the_refusal_of_a_lambda_names_the_option_with_the_layer(either_keras, saved, name):
    with quiet.silenced():
        model = _driving(either_keras)
    with pytest.raises(errors.ModelError, match=r"layer 'scaling'.*--replace scaling=SCALE,OFFSET.*model\.export"):
        formats.load(saved(model, name))


@pytest.mark.parametrize(
    ("layer", "words"),
    [("missing", "no layer 'missing' to replace; its Lambda layers are scaling"), ("conv2d", "for Lambda layers only")],
)
def test_what_is_no_lambda_is_not_replaced(either_keras, saved, layer, words):
    with quiet.silenced():
        either_keras.backend.clear_session()
        path = saved(_driving(either_keras), "m.keras")
    with pytest.raises(errors.ModelError, match=words):
        formats.load(path, scales={layer: (1.0, 0.0)})


def test_another_lambda_is_still_refused(keras, saved):
    with quiet.silenced():
        model = _driving(keras)
        twice = keras.layers.Lambda(lambda x: x * 2, output_shape=(1,), name="other")
        path = saved(keras.Model(model.inputs, twice(model.outputs[0])), "m.keras")
    with pytest.raises(errors.ModelError, match=r"layer 'other': a Lambda layer holds code"):
        formats.load(path, scales={"scaling": (1.0, 0.0)})
