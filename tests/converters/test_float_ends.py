"""Conversions between float and int8 at a model's ends are cut off, and nothing that computes."""

import numpy as np
import pytest
import tiny_models
from ai_edge_litert import schema_py_generated as schema

import tflsplit
from converters import float_ends, rewriting
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter


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


@pytest.fixture
def detector(tmp_path):
    path = tmp_path / "detector.tflite"
    path.write_bytes(tiny_models.detector())
    return path


@pytest.mark.usefixtures("in_this_process")
def test_the_post_processing_of_a_detector_stays_in_the_tail_and_every_cut_before_it_is_exact(detector, tmp_path):
    made = tflsplit.convert(detector, tmp_path / "m.tflsplit", pairs="all")
    names = [operator.name for operator in made.graph.operators]
    inner = made.cuts[1:-1]

    assert names[-3:] == ["DEQUANTIZE", "DEQUANTIZE", "TFLite_Detection_PostProcess"]
    assert [cut.position for cut in inner] == list(range(1, len(names) - 2))
    assert {spec.dtype for cut in inner for spec in cut.boundary} == {"int8"}
    assert [spec.dtype for spec in made.manifest.outputs] == ["float32"] * 4
    assert any("TFLite_Detection_PostProcess: computed in float" in note for note in made.manifest.rewrites)
    assert tflsplit.verify(made.path).is_bit_exact


def test_a_conversion_to_float_moves_behind_integers_that_do_not_read_it():
    data = tiny_models.detector()
    before = [operator.name for operator in flatgraph.read(data).operators]
    after = [
        operator.name for operator in flatgraph.read(rewriting.rewrite(data, (float_ends.convert_late,)).data).operators
    ]

    assert sorted(before) == sorted(after)
    assert before.index("DEQUANTIZE") < before.index("LOGISTIC")
    assert after.index("DEQUANTIZE") > after.index("LOGISTIC")


@pytest.mark.usefixtures("in_this_process")
def test_islands_of_float_stay_whole_between_two_cuts(builder, tmp_path):
    """x → two times (FULLY_CONNECTED → DEQUANTIZE → ABS → QUANTIZE) → ADD."""
    weights = builder.tensor("w", (4, 4), scale=0.01, data=np.eye(4, dtype=np.int8) * 90)
    x = last = builder.tensor("x", (1, 4))
    for number in (1, 2):
        a = builder.dense(last, weights, f"a{number}", 4, scale=0.1)
        f, g = (builder.tensor(f"{name}{number}", (1, 4), scale=None, kind="FLOAT32") for name in "fg")
        last = builder.tensor(f"q{number}", (1, 4))
        builder.operator("DEQUANTIZE", (a,), (f,), version=2)
        builder.operator("ABS", (f,), (g,))
        builder.operator("QUANTIZE", (g,), (last,))
    data = builder.build((x,), (builder.add(last, last, "y", (1, 4)),))
    (tmp_path / "m.tflite").write_bytes(data)
    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit", pairs="all")

    assert [cut.id for cut in made.cuts] == ["input", "op000", "op003", "op004", "op007", "output"]
    assert tflsplit.verify(made.path).is_bit_exact
