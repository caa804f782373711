"""Exact rewrites: what becomes of an operator, and that not one bit of a result does."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.edgetpu import rewrite, rules
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter


def dense_on(builder, shape, *, units=5, has_bias=True, keeps_dims=True):
    rng = np.random.default_rng(0)
    x = builder.tensor("x", shape, scale=0.03, zero_point=3)
    y = builder.tensor("y", (*shape[:-1], units), scale=0.7, zero_point=-7)
    weights = builder.tensor(
        "w", (units, shape[-1]), scale=0.02, data=rng.integers(-127, 128, (units, shape[-1]), np.int8)
    )
    inputs = [x, weights]
    if has_bias:
        bias = rng.integers(-900, 900, units).astype(np.int32)
        inputs.append(builder.tensor("b", (units,), scale=0.03 * 0.02, data=bias, kind="INT32"))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims, options.fusedActivationFunction = keeps_dims, schema.ActivationFunctionType.RELU
    builder.operator("FULLY_CONNECTED", inputs, (y,), options, options_type="FullyConnectedOptions", version=5)
    return builder.build((x,), (y,))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 7, 5, 8), (1, 1, 8)])
def test_dense_on_rows_becomes_a_convolution_bit_for_bit(builder, shape, has_bias):
    before = dense_on(builder, shape, has_bias=has_bias)
    changed = rewrite.rewrite(before)
    graph = flatgraph.read(changed.data)
    verdicts = rules.judge(graph)

    assert "bit-exact on 8 inputs" in changed.notes[0]
    assert rules.first_unmapped(rules.judge(flatgraph.read(before))).index == 0
    assert rules.first_unmapped(verdicts) is None
    names = ["CONV_2D"] if len(shape) == 4 else ["RESHAPE", "CONV_2D", "RESHAPE"]
    assert [entry.op for entry in verdicts] == names
    rng = np.random.default_rng(1)
    with Interpreter(before) as old, Interpreter(changed.data) as new:
        assert old.inputs == new.inputs
        assert old.outputs == new.outputs
        for _ in range(50):
            array = rng.integers(-128, 128, shape, np.int8)
            np.testing.assert_array_equal(old.run(array)[0], new.run(array)[0])


def test_a_dense_layer_of_one_row_stays(builder):
    before = dense_on(builder, (1, 8), keeps_dims=False)

    assert rewrite.rewrite(before) == rewrite.Rewritten(before)


def reshape_by_arithmetic(builder, extent):
    """x → RESHAPE to (first extent of x, -1), as Keras' Flatten was written before shapes were fixed."""
    x, y = builder.tensor("x", (1, 2, 4)), builder.tensor("y", (1, extent))
    shape = builder.tensor("shape", (3,), scale=None, kind="INT32")
    first = builder.tensor("first", (), scale=None, kind="INT32")
    target = builder.tensor("target", (2,), scale=None, kind="INT32")
    begin, end, one, minus = (
        builder.tensor(name, np.shape(value), data=np.asarray(value, np.int32), scale=None, kind="INT32")
        for name, value in (("begin", [0]), ("end", [1]), ("one", [1]), ("minus", -1))
    )
    shape_options, slice_options, pack = schema.ShapeOptionsT(), schema.StridedSliceOptionsT(), schema.PackOptionsT()
    shape_options.outType, slice_options.shrinkAxisMask, pack.valuesCount = schema.TensorType.INT32, 1, 2
    builder.operator("SHAPE", (x,), (shape,), shape_options, options_type="ShapeOptions")
    builder.operator("STRIDED_SLICE", (shape, begin, end, one), (first,), slice_options,
                     options_type="StridedSliceOptions")  # fmt: skip
    builder.operator("PACK", (first, minus), (target,), pack, options_type="PackOptions")
    builder.operator("RESHAPE", (x, target), (y,))
    return builder, x, y


def test_a_shape_computed_from_static_shapes_becomes_a_constant(builder):
    _, x, y = reshape_by_arithmetic(builder, 8)
    for index in (x, y):
        builder.tensors[index].shapeSignature = [-1, *builder.tensors[index].shape[1:]]
    changed = rewrite.rewrite(builder.build((x,), (y,)))
    graph = flatgraph.read(changed.data)

    assert [operator.name for operator in graph.operators] == ["RESHAPE"]
    assert not any(tensor.is_dynamic for tensor in graph.tensors)
    assert rules.first_unmapped(rules.judge(graph)) is None
    assert [note.split(";")[0] for note in changed.notes] == [
        "the batch, which was open, is 1",
        "3 operators on constants alone became constants",
    ]


def test_a_rewrite_that_would_change_results_is_not_made(builder, monkeypatch):
    before = dense_on(builder, (1, 6, 8))
    real = rewrite._convolution

    def wrong(edited, operator):
        parts = real(edited, operator)
        parts[1].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        return parts

    monkeypatch.setattr(rewrite, "_convolution", wrong)
    changed = rewrite.rewrite(before)

    assert changed.data == before
    assert "left as it was" in changed.notes[0]
