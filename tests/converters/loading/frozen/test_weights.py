"""Functions that are run with their weights beside them."""

import numpy as np
import pytest

from converters import quantize
from converters.loading import rewrites

_WEIGHTS_BYTES = 4 * 300 * 300


def dense(k):
    x = k.Input((300,), name="x")
    return k.Model(x, k.layers.Dense(4, name="scores")(k.layers.Dense(300, activation="relu", name="large")(x)))


@pytest.fixture
def model(load_built):
    return load_built(dense)


def test_outputs_and_layers_are_what_the_function_with_constants_computes(model, samples):
    (given,) = samples(model)
    sample = (given[:1],)

    (expected,) = rewrites.run(model.concrete_function(), sample)

    np.testing.assert_allclose(model.trace.run(sample)[0], expected, rtol=1e-5, atol=1e-6)
    of_layers = dict(zip((tap.layer for tap in model.layers), model.trace.run_tapped(sample), strict=True))
    np.testing.assert_allclose(of_layers["scores"], expected, rtol=1e-5, atol=1e-6)
    assert of_layers["large"].shape == (1, 300)


def test_a_function_without_constants_holds_no_large_weights_and_its_definition_does(model):
    with_constants = model.concrete_function().graph.as_graph_def()
    model.trace.drop_constants()

    assert model.concrete_function().graph.as_graph_def().ByteSize() < _WEIGHTS_BYTES
    held = {node.name: node.attr["value"] for node in with_constants.node if node.op == "Const"}
    again = {node.name: node.attr["value"] for node in model.trace.definition().node if node.op == "Const"}
    assert again == held
    assert sum(value.ByteSize() for value in again.values()) > _WEIGHTS_BYTES


def test_a_model_can_be_quantised_again(model, samples):
    given = samples(model)
    assert quantize.quantise(model, given) == quantize.quantise(model, given)
