"""Statistics of batch normalisations along any axis, and in models that take one sample at a time."""

import numpy as np
import pytest

from converters.calibration import first_layer, inference


def _trained(model, seen):
    """The statistics that training on `seen` (by channel) would have left."""
    for weight in model.weights:
        if "moving_mean" in weight.path:
            weight.assign(seen.mean(axis=1))
        if "moving_variance" in weight.path:
            weight.assign(seen.var(axis=1))
    return model


def _data():
    return np.random.default_rng(0).normal(3.0, 2.0, (16, 6, 5, 4)).astype(np.float32)


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2, -3])
@pytest.mark.parametrize("is_fixed", [False, True], ids=["any batch", "a batch of one"])
def test_the_distance_is_along_the_axis_that_a_layer_normalises(load_built, axis, is_fixed):
    data = _data()

    def build(keras):
        entry = keras.Input(batch_shape=(1 if is_fixed else None, 6, 5, 4))
        x = keras.ops.reshape(entry, (1, 6, 5, 4)) if is_fixed else entry
        x = keras.layers.BatchNormalization(axis=axis)(x)
        model = keras.Model(entry, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
        return _trained(model, np.moveaxis(data, axis, 0).reshape(data.shape[axis], -1))

    look = first_layer.look_at(load_built(build))
    near, far = (inference.distance(look.at((seen,)).normalisations) for seen in (data, data * 10))

    assert near < 0.1
    assert far > 5


def test_of_an_lstm_that_is_a_loop_what_goes_into_its_gates_is_seen(load_built):
    def build(keras):
        entry = keras.Input((6, 5))
        return keras.Model(entry, keras.layers.Dense(2)(keras.layers.LSTM(3)(entry)))

    model = load_built(build)
    lstm = model.keras_model.layers[1].cell
    data = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    view = first_layer.look_at(model).at((data,))

    np.testing.assert_array_equal(view.entering, data)
    np.testing.assert_allclose(view.leaving, data @ lstm.kernel.numpy() + lstm.bias.numpy(), atol=1e-5)
