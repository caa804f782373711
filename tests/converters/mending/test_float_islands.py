"""What LiteRT's quantizer leaves in float becomes int8, where that is right."""

import pathlib

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from converters import quantize, unquantised
from converters.mending import float_islands
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import decibels, dequantise, quantise

RANDOM = np.random.default_rng(7)
SHAPE = (1, 4, 6, 4)


class Net(tiny_models.Builder):
    """Float tensors and operators in short."""

    def real(self, name, shape):
        return self.tensor(name, shape, scale=None, kind="FLOAT32")

    def numbers(self, name, values):
        array = np.array(values, np.int32)
        return self.tensor(name, array.shape, scale=None, data=array, kind="INT32")

    def reals(self, name, values):
        array = np.array(values, np.float32)
        return self.tensor(name, array.shape, scale=None, data=array, kind="FLOAT32")

    def then(self, name, inputs, shape, options=None, kind="FLOAT32"):
        output = self.tensor(name.lower(), shape, scale=None, kind=kind)
        kind_of_options = type(options).__name__.removesuffix("T") if options is not None else "NONE"
        self.operator(name, inputs, (output,), options, options_type=kind_of_options)
        return output


def _set(options, **fields):
    for name, value in fields.items():
        setattr(options, name, value)
    return options


def _space_to_batch(net, x):
    inputs = (x, net.numbers("b", [2, 2]), net.numbers("p", [[0, 0], [1, 1]]))
    return net.then("SPACE_TO_BATCH_ND", inputs, (4, 2, 4, 4), schema.SpaceToBatchNDOptionsT())


def _tile(net, x):
    return net.then("TILE", (x, net.numbers("t", [1, 2, 2, 1])), (1, 8, 12, 4), schema.TileOptionsT())


def _depth_to_space(net, x):
    return net.then("DEPTH_TO_SPACE", (x,), (1, 8, 12, 1), _set(schema.DepthToSpaceOptionsT(), blockSize=2))


def _reverse(net, x):
    return net.then("REVERSE_V2", (x, net.numbers("a", [1])), SHAPE, schema.ReverseV2OptionsT())


def _leaky(net, x):
    return net.then("LEAKY_RELU", (x,), SHAPE, _set(schema.LeakyReluOptionsT(), alpha=0.1))


def _prelu(net, x):
    return net.then("PRELU", (x, net.reals("alpha", [[[0.1, 0.3, -0.2, 0.5]]])), SHAPE)


def _maximum(net, x):
    options = _set(schema.ReducerOptionsT(), keepDims=True)
    return net.then("REDUCE_MAX", (x, net.numbers("a", [1, 2])), (1, 1, 1, 4), options)


def _clipped(net, x):
    return net.then("MINIMUM", (x, net.reals("most", 0.5)), SHAPE, schema.MaximumMinimumOptionsT())


def _normalised(net, x):
    return net.then("L2_NORMALIZATION", (x,), SHAPE, schema.L2NormOptionsT())


def _shares(net, x):
    rows = net.then(
        "RESHAPE",
        (x, net.numbers("s", [24, 4])),
        (24, 4),
        _set(schema.ReshapeOptionsT(), newShape=[24, 4]),
    )
    return net.then("LOG_SOFTMAX", (rows,), (24, 4), schema.LogSoftmaxOptionsT())


def _twice(net, x):
    """Two of them in a row: what lies between is known from the samples alone."""
    return _tile(net, net.then("ELU", (x,), SHAPE))


def _of_two(net, x):
    """The least of two tensors of different scales."""
    other = net.then("EXP", (x,), SHAPE, schema.ExpOptionsT())
    return net.then("MINIMUM", (x, other), SHAPE, schema.MaximumMinimumOptionsT())


def _negated(net, x):
    return net.then("NEG", (x,), SHAPE, schema.NegOptionsT())


def _squared(net, x):
    flat = net.then("EXPAND_DIMS", (x, net.numbers("d", 1)), (1, 1, 4, 6, 4), schema.ExpandDimsOptionsT())
    return net.then("SQUARE", (flat,), (1, 1, 4, 6, 4), schema.SquareOptionsT())


ALONE = [_leaky, _prelu, _maximum, _clipped, _normalised, _shares, _twice, _of_two, _negated, _squared]
CASES = [_space_to_batch, _tile, _depth_to_space, _reverse, *ALONE]


def _quantised(make):
    net = Net()
    x = net.real("x", SHAPE)
    data = net.build((x,), (make(net, x),))
    model = unquantised.load(pathlib.Path("m.tflite"), data)
    samples = (np.random.default_rng(0).normal(0, 1, (16, *SHAPE[1:])).astype(np.float32),)
    return model, samples, quantize.quantise(model, samples)


@pytest.mark.parametrize("make", CASES)
def test_it_is_int8_throughout_and_near_to_float(make):
    model, samples, data = _quantised(make)
    graph = flatgraph.read(data)
    assert not {one.name for one in graph.operators} & {"DEQUANTIZE", "EXPAND_DIMS", "NEG", "SQUARE"}
    assert {graph.tensors[index].type_name for one in graph.operators for index in one.outputs} == {"int8"}
    expected = model.predict(samples)[0]
    with Interpreter(data) as opened:
        x, y = opened.inputs[0], opened.outputs[0]
        found = np.stack([dequantise(opened.run(quantise(row[None], x))[0], y) for row in samples[0]])
    error = np.square(found.ravel() - expected.ravel()).sum()
    assert decibels(float(np.square(expected).sum()), float(error)) > 28


def test_what_only_moves_values_keeps_their_scale():
    graph = flatgraph.read(_quantised(_space_to_batch)[2])
    (x,), (y,) = graph.specs(graph.inputs), graph.specs(graph.outputs)
    assert (x.scale, x.zero_point) == (y.scale, y.zero_point)
    assert [one.version for one in graph.operators] == [2]


def test_what_is_not_the_same_in_int8_stays_in_float(monkeypatch):
    monkeypatch.setattr(float_islands, "_is_near", lambda *given: False)
    with pytest.raises(Exception, match="LiteRT's quantizer leaves TILE"):
        _quantised(_tile)


def test_a_tensor_that_also_leaves_the_model_leaves_it_as_integers():
    net = Net()
    x = net.real("x", SHAPE)
    y = _leaky(net, x)
    data = net.build((x,), (y, _tile(net, y)))
    model = unquantised.load(pathlib.Path("m.tflite"), data)
    graph = flatgraph.read(quantize.quantise(model, (RANDOM.normal(0, 1, (4, *SHAPE[1:])).astype(np.float32),)))
    assert {graph.tensors[index].type_name for index in graph.outputs} == {"int8"}
