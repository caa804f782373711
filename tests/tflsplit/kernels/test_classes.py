import dataclasses
import json

import pytest

from tflsplit.kernels import classes
from tflsplit.kernels.classes import KernelClass

HERE = KernelClass(
    "ai-edge-litert 2.3.0",
    "x86_64",
    True,
    {"CONV_2D/int8": "00000001", "SOFTMAX/int8": "00000002", "QUANTIZE/int8>uint8": "00000003"},
)
ON_ARM = dataclasses.replace(HERE, machine="aarch64", operators={**HERE.operators, "SOFTMAX/int8": "0000000a"})


def test_json_reads_back():
    assert KernelClass.from_json(json.loads(json.dumps(HERE.as_json()))) == HERE


@pytest.mark.parametrize(
    "change",
    [
        {"id": "00000000"},
        {"id": None},
        {"runtime": ""},
        {"runtime": "x" * 100},
        {"runtime": "two\nlines"},
        {"machine": 3},
        {"delegated": "yes"},
        {"operators": []},
        {"operators": {"CONV_2D/int8": "xyz"}},
        {"operators": {"CONV_2D/int8": 12345678}},
        {"operators": {"conv \x1b[2J": "00000001"}},
        {"operators": {f"OP{number}/int8": "00000001" for number in range(1000)}},
    ],
    ids=str,
)
def test_json_of_anything_else_is_refused_in_one_line(change):
    with pytest.raises(ValueError) as refused:
        KernelClass.from_json(HERE.as_json() | change)

    assert "\n" not in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("fields", [None, [], "class", {}, {"id": "00000000"}], ids=str)
def test_json_without_its_parts_is_refused(fields):
    with pytest.raises(ValueError, match="a kernel class is an object with"):
        KernelClass.from_json(fields)


def test_the_id_is_that_of_what_was_computed():
    elsewhere = dataclasses.replace(HERE, runtime="another 1.0", machine="riscv64")

    assert elsewhere.id == HERE.id
    assert ON_ARM.id != HERE.id
    assert dataclasses.replace(HERE, is_delegated=False).id != HERE.id


def test_two_classes_differ_only_where_a_head_has_what_differs():
    assert classes.compare(HERE, ON_ARM, ["CONV_2D/int8", "QUANTIZE/int8>uint8"]).is_exact
    assert classes.compare(HERE, ON_ARM, []).is_exact

    found = classes.compare(HERE, ON_ARM, ["SOFTMAX/int8", "CONV_2D/int8"])

    assert found.differing == ("SOFTMAX/int8",)
    assert not found.is_exact
    assert str(found) == "differs in SOFTMAX/int8"


def test_a_kind_that_was_not_probed_on_both_sides_is_unknown():
    less = dataclasses.replace(ON_ARM, operators={"CONV_2D/int8": "00000001"})

    found = classes.compare(HERE, less, ["SOFTMAX/int8", "FLOOR_DIV/int8"])

    assert found.unknown == ("FLOOR_DIV/int8", "SOFTMAX/int8")
    assert not found.is_exact
    assert str(found) == "not known of FLOOR_DIV/int8, SOFTMAX/int8"


def test_operators_that_only_move_integers_are_exact_everywhere():
    on_another_runtime = KernelClass("tflite-runtime 2.14.0", "armv7l", False, {})

    assert classes.compare(HERE, on_another_runtime, ["RESHAPE/int8", "PAD/uint8", "ARG_MAX/uint8>int64"]).is_exact


def test_the_same_build_of_the_same_class_agrees_in_what_was_not_probed():
    other_build = dataclasses.replace(HERE, runtime="ai-edge-litert 2.2.0")

    assert classes.compare(HERE, dataclasses.replace(HERE), ["FLOOR_DIV/int8"]).is_exact
    assert classes.compare(HERE, other_build, ["FLOOR_DIV/int8"]).unknown == ("FLOOR_DIV/int8",)


def test_a_recurrent_layer_was_measured_in_litert_only():
    in_another_runtime = dataclasses.replace(HERE, runtime="tflite-runtime 2.14.0")

    assert classes.compare(HERE, ON_ARM, ["UNIDIRECTIONAL_SEQUENCE_LSTM/int8"]).is_exact
    assert not classes.compare(HERE, in_another_runtime, ["UNIDIRECTIONAL_SEQUENCE_LSTM/int8"]).is_exact
