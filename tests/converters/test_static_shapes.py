"""A batch that was left open becomes 1, and what is always the same becomes a constant."""

import numpy as np
import pytest

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
