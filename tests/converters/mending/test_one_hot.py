"""A one-hot of the best class is 0 and 1 in int8 too."""

import numpy as np

from converters import quantize
from converters.mending import one_hot
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import dequantise


def test_what_is_off_is_zero(load_built, samples):
    def build(keras):
        entry = keras.Input((8,))
        best = keras.ops.argmax(keras.layers.Dense(6)(entry), -1)
        return keras.Model(entry, [keras.ops.one_hot(best, 6), keras.layers.Dense(2)(keras.ops.one_hot(best, 6))])

    model = load_built(build)
    data = quantize.quantise(model, samples(model))
    with Interpreter(data) as opened:
        place = next(at for at, spec in enumerate(opened.outputs) if spec.shape == (1, 6))
        rows = [
            dequantise(opened.run(np.full((1, 8), value, np.int8))[place], opened.outputs[place])
            for value in (-100, 0, 100)
        ]
    np.testing.assert_allclose([sorted(row[0]) for row in rows], [[0, 0, 0, 0, 0, 1]] * 3, atol=0.01)


def test_a_model_without_one_is_left_alone(load_built, samples):
    def build(keras):
        entry = keras.Input((4,))
        return keras.Model(entry, keras.layers.Dense(2)(entry))

    data = quantize.quantise(model := load_built(build), samples(model))
    assert one_hot.in_one_scale(data) is data
