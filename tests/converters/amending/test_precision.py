"""Models of another precision open in float32, with the weights they have."""

import numpy as np
import pytest

from converters.loading import formats, quiet


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16", "float64"])
def policy(request):
    return request.param


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_a_policy_becomes_float32_and_is_said(either_keras, saved, policy, ending):
    keras = either_keras
    with quiet.silenced():
        keras.mixed_precision.set_global_policy(policy)
        try:
            entry = keras.Input((8, 8, 3))
            x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(entry))
            made = keras.Model(entry, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
            sample = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
            expected = np.asarray(made(sample, training=False), np.float32)
            path = saved(made, f"m.{ending}")
        finally:
            keras.mixed_precision.set_global_policy("float32")
    model = formats.load(path)
    assert policy in model.notes[0]
    assert {tensor.dtype.name for tensor in model.concrete_function().outputs} == {"float32"}
    np.testing.assert_allclose(model.predict([sample])[0], expected, atol=0.05)
