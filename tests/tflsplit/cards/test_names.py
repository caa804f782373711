"""Names of inputs and outputs."""

import dataclasses

import pytest
import tiny_models

from tflsplit.cards import names
from tflsplit.cards.names import Names
from tflsplit.graph import flatgraph
from tflsplit.graph.metadata import Description, Input, Output


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["x", "y"], ("x", "y")),
        (["serving_default_picture:0"], ("picture",)),
        (["conv;relu;batch_normalization"], ("conv",)),
        (["a" * 65, "b"], ("tensor_0", "b")),
        (["x", "x", ""], ("x", "tensor_1", "tensor_2")),
    ],
)
def test_names_are_short_and_each_once(given, expected):
    assert names.distinct(given) == expected


def test_a_model_without_a_signature_is_named_after_its_tensors(residual_model):
    assert names.of_graph(flatgraph.read(residual_model)) == Names(("x",), ("c",))


def signed(*ends):
    model = flatgraph.read(tiny_models.residual_model())
    inputs, outputs = (tuple(map(kind, end)) for kind, end in zip((Input, Output), ends, strict=True))
    return flatgraph.read(flatgraph.pack(model.source, Description("m", inputs, outputs)))


def test_a_signature_has_the_last_word():
    assert names.of_graph(signed(("features",), ("scores",))) == Names(("features",), ("scores",))


def test_a_signature_of_other_tensors_says_nothing():
    graph = signed(("features",), ("scores",))
    graph.source.signatureDefs[0].inputs[0].tensorIndex = 2
    assert names.of_graph(graph) == Names(("x",), ("c",))


def test_a_boundary_of_one_tensor_is_named_after_its_layer(tiny_package):
    cut = tiny_package.cut("op000")
    assert names.of_boundary(cut) == ("a",)
    assert names.of_boundary(dataclasses.replace(cut, layer="block_1")) == ("block_1",)
    assert names.of_boundary(dataclasses.replace(tiny_package.cut("op001"), layer="block_2")) == ("a", "b")
