"""A batch that was left open becomes 1, and what is always the same becomes a constant."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import tflsplit
from converters import rewriting, static_shapes
from tflsplit import errors
from tflsplit.graph import flatgraph


def _half_weights(builder) -> bytes:
    """x + w, w kept in float16."""
    x = builder.tensor("x", (1, 4), scale=None, kind="FLOAT32")
    half = builder.tensor("half", (4,), scale=None, data=np.array([1, 2, 3, 4], np.float16), kind="FLOAT16")
    w = builder.tensor("w", (4,), scale=None, kind="FLOAT32")
    builder.operator("DEQUANTIZE", (half,), (w,), version=3)
    y = builder.tensor("y", (1, 4), scale=None, kind="FLOAT32")
    builder.operator("MAXIMUM", (x, w), (y,))
    return builder.build((x,), (y,))


def test_weights_in_float16_become_float32(builder):
    made = rewriting.rewrite(_half_weights(builder), static_shapes.PASSES)
    graph = flatgraph.read(made.data)
    assert [operator.name for operator in graph.operators] == ["MAXIMUM"]
    np.testing.assert_array_equal(flatgraph.constant(graph, graph.operators[0].inputs[1]), [1, 2, 3, 4])
    assert made.notes == ("weights of 1 tensor became float32; bit-exact on 8 inputs",)


def test_a_size_that_is_open_is_refused_by_name(builder):
    x = builder.tensor("x", (1, 1, 1, 3))
    builder.tensors[x].shapeSignature = [-1, -1, -1, 3]
    y = builder.add(x, x, "y", (1, 1, 1, 3))
    with pytest.raises(errors.ModelError, match=r"input 'x' is \(any, any, any, 3\), its size is not fixed"):
        static_shapes.check(flatgraph.read(builder.build((x,), (y,))), "m.tflite")


def test_the_batch_alone_may_be_open(builder):
    x = builder.tensor("x", (1, 4))
    builder.tensors[x].shapeSignature = [-1, 4]
    y = builder.add(x, x, "y", (1, 4))
    data = builder.build((x,), (y,))
    static_shapes.check(flatgraph.read(data), "m.tflite")
    made = rewriting.rewrite(data, static_shapes.PASSES)
    assert not any(tensor.is_dynamic for tensor in flatgraph.read(made.data).tensors)


def _with_axis_of_filters(builder) -> bytes:
    """As TensorFlow 1.15 wrote models: a bias has its scales along a dimension 3 that it has not."""
    x = builder.tensor("x", (1, 4))
    weights = builder.tensor("weights", (4, 4), data=np.eye(4, dtype=np.int8))
    bias = builder.tensor("bias", (4,), data=np.arange(4, dtype=np.int32), kind="INT32")
    y = builder.dense(x, weights, "y", 4)
    builder.operators[-1].inputs = [x, weights, bias]
    for index, scale, axis in ((weights, 0.1, 0), (bias, 0.01, 3)):
        quantisation = builder.tensors[index].quantization
        quantisation.scale, quantisation.zeroPoint = [scale] * 4, [0] * 4
        quantisation.quantizedDimension = axis
    return builder.build((x,), (y,))


def test_scales_of_a_vector_are_along_its_only_dimension(builder, tmp_path, in_this_process):
    data = _with_axis_of_filters(builder)
    with pytest.raises(errors.ModelError, match="along dimension 3"):
        flatgraph.read(data)
    (tmp_path / "m.tflite").write_bytes(data)
    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit")

    assert made.manifest.rewrites[0] == "the scales of 1 vector are along their only dimension"
    assert tflsplit.verify(made.path).is_bit_exact


def test_a_file_without_such_scales_is_left_alone(residual_model):
    assert static_shapes.with_axes_of_vectors(residual_model, "m").data is residual_model


def test_the_shape_of_a_tensor_that_is_computed_becomes_a_constant(builder):
    """As Keras flattens what a layer made, with the batch open: SHAPE is asked of a tensor that only samples fill."""
    x = builder.tensor("x", (1, 2, 2), scale=None, kind="FLOAT32")
    y = builder.tensor("y", (1, 2, 2), scale=None, kind="FLOAT32")
    shape = builder.tensor("shape", (3,), scale=None, kind="INT32")
    flat = builder.tensor("flat", (2,), scale=None, kind="INT32")
    z = builder.tensor("z", (1, 4), scale=None, kind="FLOAT32")
    begin, one, minus = (
        builder.tensor(name, (1,), scale=None, data=np.array([value], np.int32), kind="INT32")
        for name, value in (("begin", 0), ("one", 1), ("minus", -1))
    )
    first = builder.tensor("first", (1,), scale=None, kind="INT32")
    builder.operator("MAXIMUM", (x, x), (y,))
    options = schema.ShapeOptionsT()
    options.outType = schema.TensorType.INT32
    builder.operator("SHAPE", (y,), (shape,), options, options_type="ShapeOptions")
    builder.operator("SLICE", (shape, begin, one), (first,))
    builder.operator(
        "CONCATENATION", (first, minus), (flat,), schema.ConcatenationOptionsT(), options_type="ConcatenationOptions"
    )
    builder.operator("RESHAPE", (y, flat), (z,))
    made = rewriting.rewrite(builder.build((x,), (z,)), static_shapes.PASSES)

    assert [operator.name for operator in flatgraph.read(made.data).operators] == ["MAXIMUM", "RESHAPE"]


def test_an_open_batch_behind_a_computed_shape_becomes_that_of_one_sample(builder):
    """As converters write a dilated convolution: what SPACE_TO_BATCH_ND makes of an open batch is stored as 1."""
    x = builder.tensor("x", (1, 4, 4, 1), scale=None, kind="FLOAT32")
    block, edges = (
        builder.tensor(name, np.shape(value), scale=None, data=np.array(value, np.int32), kind="INT32")
        for name, value in (("block", [2, 2]), ("edges", [[0, 0], [0, 0]]))
    )
    apart = builder.tensor("apart", (1, 2, 2, 1), scale=None, kind="FLOAT32")
    y = builder.tensor("y", (1, 4, 4, 1), scale=None, kind="FLOAT32")
    for index in (x, apart, y):
        builder.tensors[index].shapeSignature = [-1, *builder.tensors[index].shape[1:]]
    builder.operator("SPACE_TO_BATCH_ND", (x, block, edges), (apart,))
    builder.operator("BATCH_TO_SPACE_ND", (apart, block, edges), (y,))
    made = rewriting.rewrite(builder.build((x,), (y,)), static_shapes.PASSES)

    graph = flatgraph.read(made.data)
    assert graph.tensors[graph.operators[0].outputs[0]].shape == (4, 2, 2, 1)
    assert not any(tensor.is_dynamic for tensor in graph.tensors)
