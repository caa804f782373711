"""Sparse weights are written out as TensorFlow Lite's own kernels read them."""

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

from converters.mending import sparse_weights
from tflsplit import errors
from tflsplit.graph import flatgraph

WEIGHTS = np.array([[0, 0, 0, 1.5], [0, 0, 0, 0], [2, 0, -3, 0]], np.float32)


def _level(dense=None, segments=None, indices=None):
    made = schema.DimensionMetadataT()
    if dense is not None:
        made.format, made.denseSize = schema.DimensionType.DENSE, dense
        return made
    made.format = schema.DimensionType.SPARSE_CSR
    made.arraySegmentsType = made.arrayIndicesType = schema.SparseIndexVector.Uint8Vector
    made.arraySegments, made.arrayIndices = schema.Uint8VectorT(), schema.Uint8VectorT()
    made.arraySegments.values, made.arrayIndices.values = segments, indices
    return made


def _sparsity(order, levels, block_map=None):
    made = schema.SparsityParametersT()
    made.traversalOrder, made.blockMap, made.dimMetadata = order, block_map, levels
    return made


def _model(builder: tiny_models.Builder, values, sparsity, *, shape=WEIGHTS.shape):
    """Rows are unpacked by DENSIFY, then used."""
    x = builder.tensor("x", (1, shape[1]), scale=None, kind="FLOAT32")
    packed = builder.tensor("packed", shape, scale=None, data=np.array(values, np.float32), kind="FLOAT32")
    builder.tensors[packed].sparsity = sparsity
    w = builder.tensor("w", shape, scale=None, kind="FLOAT32")
    y = builder.tensor("y", (1, shape[0]), scale=None, kind="FLOAT32")
    builder.operator("DENSIFY", (packed,), (w,), schema.DensifyOptionsT(), options_type="DensifyOptions")
    dense = schema.FullyConnectedOptionsT()
    builder.operator("FULLY_CONNECTED", (x, w, -1), (y,), dense, options_type="FullyConnectedOptions")
    return builder.build((x,), (y,))


def _by_rows(segments=(0, 1, 1, 3), indices=(3, 0, 2)):
    return _sparsity([0, 1], [_level(dense=3), _level(segments=list(segments), indices=list(indices))])


def test_rows_are_written_out(builder):
    made = sparse_weights.written_out(_model(builder, [1.5, 2, -3], _by_rows()), "m")
    graph = flatgraph.read(made.data)
    assert [one.name for one in graph.operators] == ["FULLY_CONNECTED"]
    np.testing.assert_array_equal(flatgraph.constant(graph, graph.operators[0].inputs[1]), WEIGHTS)
    assert made.notes == ("sparse weights of 1 tensor were written out",)


def test_blocks_are_written_out_where_they_belong(builder):
    levels = [_level(dense=2), _level(segments=[0, 1, 2], indices=[1, 0]), _level(dense=2), _level(dense=2)]
    data = _model(builder, range(1, 9), _sparsity([0, 1, 2, 3], levels, [0, 1]), shape=(4, 4))
    graph = flatgraph.read(sparse_weights.written_out(data, "m").data)
    expected = np.zeros((4, 4), np.float32)
    expected[:2, 2:], expected[2:, :2] = [[1, 2], [3, 4]], [[5, 6], [7, 8]]
    np.testing.assert_array_equal(flatgraph.constant(graph, graph.operators[0].inputs[1]), expected)


def test_dense_models_are_left_alone(residual_model):
    assert sparse_weights.written_out(residual_model, "m").data is residual_model


@pytest.mark.parametrize(
    "sparsity",
    [
        _by_rows(segments=(0, 1, 1, 9)),
        _by_rows(segments=(0, 3, 1, 3)),
        _by_rows(indices=(3, 0, 7)),
        _sparsity([0, 0], [_level(dense=3), _level(dense=4)]),
        _sparsity([0, 1], [_level(dense=3), _level(dense=4_000_000)]),
        _sparsity([0, 1], None),
    ],
)
def test_damaged_ones_are_refused_by_name(builder, sparsity):
    with pytest.raises(errors.ModelError, match="m: its sparse weights 'packed' are damaged"):
        sparse_weights.written_out(_model(builder, [1.5, 2, -3], sparsity), "m")
