import dataclasses
import json

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from broker.messages import results
from tflsplit import errors
from tflsplit.coding.input_codec import Pixels
from tflsplit.decoding import maps
from tflsplit.graph.tensors import TensorSpec

TIMES = results.Times(1_700_000_000_000.25, 3.1, 1_700_000_000_004.5, 0.25, 0.1, 5.5, 1_700_000_000_010.0)
SPEC = TensorSpec("probs", (1, 3), "int8", 0.5, -1)

# (the JSON as it is on the wire, the value)
CASES = [
    (
        '{"device":"cam-1","boot":"00000000c0ffee00","sequence":7,"cut":"block_6","package":"00ff",'
        '"exact":null,"label":"cat","score":0.75,"top":[{"label":"cat","score":0.75},{"label":"dög","score":0.25}],"values":null,'
        '"times":{"captured_ms":1700000000000.25,"head_ms":3.1,"received_ms":1700000000004.5,"queue_ms":0.25,'
        '"decode_ms":0.1,"tail_ms":5.5,"sent_ms":1700000000010.0},"outputs":null}',
        results.Result(
            "cam-1", 0xC0FFEE00, 7, "block_6", "00ff", TIMES, (results.Score("cat", 0.75), results.Score("dög", 0.25))
        ),
    ),
    (
        '{"device":"d","boot":"ffffffffffffffff","sequence":0,"cut":"input","package":"00",'
        '"exact":true,"label":null,"score":null,"top":[],"values":{"angle":[0.5,-1.0]},'
        '"times":{"captured_ms":1700000000000.25,"head_ms":3.1,"received_ms":1700000000004.5,"queue_ms":0.25,'
        '"decode_ms":0.1,"tail_ms":5.5,"sent_ms":1700000000010.0},'
        '"outputs":[{"name":"probs","shape":[1,3],"dtype":"int8","scale":0.5,"zero_point":-1,"bytes":3,"data":"AQID"}]}',
        results.Result(
            "d",
            2**64 - 1,
            0,
            "input",
            "00",
            TIMES,
            values=(("angle", (0.5, -1.0)),),
            outputs=(results.Output(SPEC, b"\1\2\3"),),
            is_exact=True,
        ),
    ),
    (
        '{"device":"d","boot":"000000000000000a","sequence":3,"error":"frame is for package 1, not 2","sent_ms":1.5}',
        results.Refusal("d", 10, 3, "frame is for package 1, not 2", 1.5),
    ),
    (
        '{"device":"d","boot":null,"sequence":null,"error":"frame is damaged","sent_ms":1.5}',
        results.Refusal("d", None, None, "frame is damaged", 1.5),
    ),
]


@pytest.mark.parametrize("mask", [None, b"", maps.PNG + b"rest"])
def test_a_mask_is_read_as_it_was_written_and_can_be_left_out(mask):
    made = results.Result("d", 1, 2, 'x,"mask":"y', "00", TIMES, mask=mask)
    left_out = dataclasses.replace(made, mask=b"" if mask else mask)

    assert results.parse(made.as_json()) == made
    assert results.without_mask(made.as_json()) == left_out.as_json()
    assert made.as_json().endswith(results.MASK_LEFT_OUT) == (mask == b"")


@pytest.mark.parametrize("mask", ['"R0lGODlh"', '"!"', "7", "true", "[]"])
def test_what_is_no_png_is_no_mask(mask):
    good = results.Result("d", 1, 2, "x", "00", TIMES, mask=b"").as_json()
    with pytest.raises(errors.FrameError, match="result: "):
        results.parse(good.replace(b'"mask":null', f'"mask":{mask}'.encode()))


@pytest.mark.parametrize(("text", "value"), CASES)
def test_result_reads_back_as_it_was_written(text, value):
    assert value.as_json().decode() == text
    assert results.parse(text.encode()) == value


def test_raw_output_comes_back_as_an_array():
    array = np.array([[1.5, -2.0]], np.float32)
    output = results.Output.of(TensorSpec("logits", (1, 2), "float32"), array)
    np.testing.assert_array_equal(output.array(), array)


def test_unknown_keys_are_allowed_so_that_a_newer_cloud_can_say_more():
    text, value = CASES[0]
    assert results.parse(json.dumps({**json.loads(text), "extra": 1}).encode()) == value


def changed(**fields):
    return json.dumps({**json.loads(CASES[1][0]), **fields}).encode()


OUTPUT = json.loads(CASES[1][0])["outputs"][0]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "result is not JSON"),
        (b"\xff", "result is not JSON"),
        (b"[1]", "result is a JSON list, expected an object"),
        (b"[" * 100_000, "result is not JSON"),
        (b'{"device": NaN}', "NaN is not a JSON number"),
        (b"{}", "times is None, expected dict"),
        (changed(device=1), "device is 1, expected str"),
        (changed(boot=12), "boot is 12, expected str"),
        (changed(boot="12"), "boot '12' is not 16 hexadecimal digits"),
        (changed(sequence=True), "sequence is True, expected int"),
        (changed(sequence=-1), "sequence -1 is outside"),
        (changed(sequence=2**60), "is outside 0..9007199254740991"),
        (changed(top={}), "top is {}, expected list"),
        (changed(top=[1]), "top holds 1, expected objects"),
        (changed(top=[{"label": "a", "score": "1"}]), "score is '1', expected int or float"),
        (changed(values=[1]), r"values is \[1\], expected dict"),
        (changed(values={"a": [None]}), "a is None, expected int or float"),
        (changed(times={"head_ms": 1}), "captured_ms is None"),
        (changed(outputs=[{**OUTPUT, "shape": [1, "3"]}]), "is not a list of integers"),
        (changed(outputs=[{**OUTPUT, "shape": [1, -3]}]), "is not static"),
        (changed(outputs=[{**OUTPUT, "shape": [1, 2**40]}]), "has 3 bytes, expected"),
        (changed(outputs=[{**OUTPUT, "dtype": "string"}]), "cannot cross a cut"),
        (changed(outputs=[{**OUTPUT, "data": "AQ=D"}]), "result: "),
        (changed(error=5), "error is 5, expected str"),
        (changed(times=json.loads("{" + '"head_ms": 1' + "0" * 400 + "}")), "result"),
        (b" " * (results.MAX_JSON_BYTES + 1), "at most 16777216 are accepted"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(data, expected):
    with pytest.raises(errors.FrameError, match=expected) as refusal:
        results.parse(data)
    assert "\n" not in str(refusal.value)


def test_number_that_json_cannot_hold_is_refused_when_made():
    with pytest.raises(ValueError, match="score of 'a' is nan"):
        results.Result("d", 1, 1, "c", "00", TIMES, top=(results.Score("a", float("nan")),))
    with pytest.raises(ValueError, match="values"):
        results.Result("d", 1, 1, "c", "00", TIMES, values=(("x", (float("inf"),)),))
    with pytest.raises(ValueError, match="tail_ms is inf"):
        results.Times(1, 1, 1, 1, 1, float("inf"), 1)


@hypothesis.given(
    strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
        lambda inner: (
            strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    strategies.sampled_from([*json.loads(CASES[1][0]), "error", "sent_ms"]),
)
@hypothesis.settings(deadline=None, max_examples=400)
def test_any_json_value_anywhere_is_parsed_or_refused(value, key):
    try:
        results.parse(changed(**{key: value}))
    except errors.FrameError as refusal:
        assert str(refusal)  # noqa: PT017 - that nothing else comes out is the point


@hypothesis.given(
    strategies.text(),
    strategies.floats(allow_nan=False, allow_infinity=False),
    strategies.sampled_from([None, *Pixels]),
)
def test_what_is_written_is_what_a_json_encoder_makes_of_it(text, number, pixels):
    result = results.Result(
        text,
        1,
        2,
        text,
        text,
        results.Times(*[number] * 7),
        (results.Score(text, number),),
        ((text, (number, 0.1)), (f"{text}2", ())),
        pixels=pixels,
    )
    written = result.as_json().decode()

    assert json.dumps(json.loads(written), ensure_ascii=False, separators=(",", ":")) == written
    assert results.parse(written.encode()) == result


def test_of_two_outputs_with_one_name_the_last_is_said():
    values = (("a", (1.0,)), ("b", (2.0,)), ("a", (3.0,)))
    written = results.Result("d", 1, 2, "c", "p", results.Times(*[0.0] * 7), values=values).as_json()

    assert results.parse(written).values == (("a", (3.0,)), ("b", (2.0,)))
