"""A tensor that is zero in calibration gets a scale that every kernel takes; no result changes."""

import numpy as np
import pytest

from converters import quantize
from converters.calibration import synthesis
from converters.float_model import fidelity
from converters.mending import least_scales
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.inputs.preprocessing import NAMED


def _dead(keras, x):
    """A branch that a ReLU holds at zero, as NASNet has them."""
    return keras.layers.Conv2D(8, 3, padding="same", activation="relu", bias_initializer=_far_below(keras))(x)


def _far_below(keras):
    return keras.initializers.Constant(-50.0)


def _with(branch):
    def build(keras):
        entry = keras.Input((16, 16, 3))
        alive = keras.layers.Conv2D(8, 3, padding="same")(entry)
        x = keras.layers.Add()([alive, branch(keras, _dead(keras, entry))])
        return keras.Model(entry, keras.layers.Dense(3)(keras.layers.Flatten()(x)))

    return build


BRANCHES = {
    "itself": lambda keras, x: x,
    "pooled": lambda keras, x: keras.layers.AveragePooling2D(3, 1, padding="same")(x),
    "convolved": lambda keras, x: keras.layers.Conv2D(8, 3, padding="same", bias_initializer="ones")(x),
    "depthwise": lambda keras, x: keras.layers.DepthwiseConv2D(3, padding="same", bias_initializer="ones")(x),
}


@pytest.mark.parametrize("branch", BRANCHES.values(), ids=BRANCHES)
def test_a_branch_that_is_zero_converts_runs_and_keeps_its_quality(load_built, branch):
    model = load_built(_with(branch))
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    data = quantize.quantise(model, samples)
    with pytest.raises(errors.DeviceError), Interpreter(data):
        pass
    made = least_scales.raised(data, samples)

    assert "zero in all samples, got a scale of 0.0039 instead of 7.8e-09; bit-exact on 8 samples" in made.notes[0]
    graph = flatgraph.read(made.data)
    scales = [spec.scale for tensor in graph.tensors if (spec := tensor.spec) and spec.dtype == "int8" and spec.scale]
    assert min(scales) > 1e-6
    (measured,) = fidelity.measure(model, made.data, samples)
    assert measured.sqnr_db > 28


def test_a_model_without_such_tensors_is_left_alone(residual_model):
    assert least_scales.raised(residual_model, (np.zeros((1, 4), np.float32),)).data is residual_model


def test_a_model_that_runs_with_them_is_left_alone(load_built):
    """Values that vanish on their way leave scales as small, one beside the other."""

    def build(keras):
        entry = x = keras.Input((8, 8, 3))
        for _ in range(4):
            x = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer=keras.initializers.Constant(1e-4))(x)
        return keras.Model(entry, keras.layers.Dense(3)(keras.layers.Flatten()(x)))

    model = load_built(build)
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    data = quantize.quantise(model, samples)
    scales = [spec.scale for tensor in flatgraph.read(data).tensors if (spec := tensor.spec) and spec.dtype == "int8"]
    assert min(filter(None, scales)) < 8e-9
    with Interpreter(data):
        pass

    assert least_scales.raised(data, samples).data is data
