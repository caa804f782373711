"""Conversions between float and int8 at a model's ends are cut off, and nothing that computes."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters import float_ends
from tflsplit.cards import names
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.metadata import Description, Input, Output


@pytest.fixture
def model(builder):
    """f → QUANTIZE → x → a = x + x → DEQUANTIZE → g, and what `more` adds behind it."""

    def make(*, more: bool = False) -> bytes:
        f = builder.tensor("f", (1, 4), scale=None, kind="FLOAT32")
        x = builder.tensor("x", (1, 4))
        builder.operator("QUANTIZE", (f,), (x,))
        a = builder.add(x, x, "a", (1, 4))
        g = builder.tensor("g", (1, 4), scale=None, kind="FLOAT32")
        builder.operator("DEQUANTIZE", (a,), (g,), version=2)
        if not more:
            return builder.build((f,), (g,))
        h = builder.tensor("h", (1, 4), scale=None, kind="FLOAT32")
        builder.operator("ADD", (g, g), (h,), schema.AddOptionsT(), options_type="AddOptions")
        return builder.build((f,), (h,))

    return make


def test_a_model_that_only_converts_at_its_ends_is_left_with_what_lies_between(model):
    made = float_ends.cut_off(model())
    graph = flatgraph.read(made.data)
    assert [operator.name for operator in graph.operators] == ["ADD"]
    assert {graph.tensors[index].type_name for index in (*graph.inputs, *graph.outputs)} == {"int8"}
    assert made.notes == (
        "the conversion from and to float of 1 input and 1 output was cut off; bit-exact on 8 inputs",
    )


def test_the_names_of_the_ends_stay_with_what_is_left(model):
    graph = flatgraph.read(model())
    signed = flatgraph.pack(graph.source, Description("m", (Input("sound"),), (Output("word"),)))
    assert names.of_graph(flatgraph.read(float_ends.cut_off(signed).data)) == names.Names(("sound",), ("word",))


def test_float_operators_behind_the_last_int8_one_stay(model):
    made = float_ends.cut_off(model(more=True))
    graph = flatgraph.read(made.data)
    assert [operator.name for operator in graph.operators] == ["ADD", "DEQUANTIZE", "ADD"]
    with Interpreter(made.data) as opened:
        (found,) = opened.run(np.array([[1, 2, 3, -4]], np.int8))
    np.testing.assert_allclose(found, [[0.4, 0.8, 1.2, -1.6]], rtol=1e-6)


def test_an_input_that_is_also_used_as_float_keeps_its_conversion(builder):
    f = builder.tensor("f", (1, 4), scale=None, kind="FLOAT32")
    x = builder.tensor("x", (1, 4))
    builder.operator("QUANTIZE", (f,), (x,))
    h = builder.tensor("h", (1, 4), scale=None, kind="FLOAT32")
    builder.operator("ADD", (f, f), (h,), schema.AddOptionsT(), options_type="AddOptions")
    data = builder.build((f,), (x, h))
    assert float_ends.cut_off(data).data == data


def test_a_model_without_such_ends_stays_as_it_is(residual_model):
    assert float_ends.cut_off(residual_model) == float_ends.Rewritten(residual_model)
