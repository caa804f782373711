"""The float twin of an int8 model."""

import numpy as np
import tiny_models
from ai_edge_litert import schema_py_generated as schema
from lossy_models import mixing_model

from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.losses import twin


def run(model, *arrays):
    with Interpreter(model) as opened:
        return opened.run(*arrays)


def test_it_computes_the_same_without_rounding(residual_model):
    made = twin.of_model(flatgraph.read(residual_model))
    values = np.array([[0.123, -1.7, 0.0, 2.5]], np.float32)
    assert np.allclose(run(made, values)[0], 6 * values)


def test_tensors_and_operators_stand_where_they_stood(residual_model):
    before, after = flatgraph.read(residual_model), flatgraph.read(twin.of_model(flatgraph.read(residual_model)))
    assert [each.name for each in after.tensors] == [each.name for each in before.tensors]
    assert [each.outputs for each in after.operators] == [each.outputs for each in before.operators]


def test_weights_are_what_the_stored_ones_stand_for(builder):
    x = builder.tensor("x", (1, 2))
    weights = builder.tensor("w", (3, 2), scale=0.5, data=np.array([[1, 2], [3, -4], [0, 1]], np.int8))
    model = builder.build((x,), (builder.dense(x, weights, "y", 3),))
    found = run(twin.of_model(flatgraph.read(model)), np.array([[2.0, 1.0]], np.float32))
    assert found[0].tolist() == [[2.0, 1.0, 0.5]]


def test_what_only_changes_the_storage_changes_nothing():
    boxes, scores = np.full((1, 4, 9), 123.4, np.float32), np.full((1, 2, 9), 0.37, np.float32)
    (found,) = run(twin.of_model(flatgraph.read(mixing_model())), boxes, scores)
    assert np.array_equal(found, np.concatenate([boxes, scores], 1))


def test_a_relu_that_only_the_range_tells_is_one(builder):
    x = builder.tensor("x", (1, 2))
    y = builder.tensor("y", (1, 2), scale=0.1, zero_point=-128)
    builder.operator("ADD", (x, x), (y,), schema.AddOptionsT(), options_type="AddOptions", version=2)
    made = twin.of_model(flatgraph.read(builder.build((x,), (y,))))
    assert run(made, np.array([[-1.0, 1.0]], np.float32))[0].tolist() == [[0.0, 2.0]]


def test_a_model_in_one_line_stays_as_it_is(residual_model):
    graph = flatgraph.read(residual_model)
    twin.of_model(graph)
    assert flatgraph.pack(graph.source) == flatgraph.pack(flatgraph.read(residual_model).source)
    assert tiny_models.residual_model() == residual_model
