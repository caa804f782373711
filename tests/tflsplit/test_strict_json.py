"""JSON and TOML of strangers: what would become an infinity, or end in a traceback, is refused in one line."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import acks, dead_letters, presence, results, telemetry, updates
from broker.transport import credentials
from tflsplit import configuration, errors, strict_json
from tflsplit.chains import planfile as chain_planfile
from tflsplit.package import manifest
from tflsplit.planning import planfile
from tflsplit.timings import profiles

DEEP = "[" * 100_000 + "]" * 100_000
HOSTILE = {
    "infinity": '{"a": 1e999}',
    "minus infinity": '{"a": -1e999}',
    "a long infinity": '{"a": 1' + "0" * 400 + ".0}",
    "NaN": '{"a": NaN}',
    "Infinity": '{"a": -Infinity}',
    "a number of thousands of digits": '{"a": ' + "9" * 5000 + "}",
    "a number of more than 64 bits": '{"a": 18446744073709551616}',
    "two equal keys": '{"a": 1, "b": {"c": 1, "c": 2}}',
    "nested without end": DEEP,
    "nested too deep": "[" * 70 + "]" * 70,
    "objects nested too deep": '{"a":' * 70 + "1" + "}" * 70,
    "no UTF-8": b'{"a": "\xff"}',
    "a byte order mark": "\ufeff{}",
    "half of a character": '{"a": "\\ud800"}',
    "nothing": "",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_json_of_ours_is_refused_in_one_line(text):
    with pytest.raises(ValueError) as refused:
        strict_json.parse(text)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    )
)
def test_what_we_write_is_read_back(value):
    assert strict_json.parse(json.dumps(value)) == value


# Every door through which JSON of others comes in, given a file or a message that says nothing else.
FILES = {
    "profile": profiles.read,
    "plan": planfile.read,
    "chain plan": chain_planfile.read,
    "manifest": lambda path: manifest.parse(path.read_bytes().decode("utf-8", "replace"), name="m"),
    "credentials": lambda path: credentials.open_bundle(path.parent),
}
MESSAGES = (acks.parse, dead_letters.parse, presence.parse, results.parse, telemetry.parse)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_file_ends_in_a_traceback(tmp_path, kind, text):
    path = tmp_path / "broker.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(errors.UserError) as refused:
        FILES[kind](path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("parse", MESSAGES, ids=lambda parse: parse.__module__)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_message_ends_in_a_traceback(parse, text):
    with pytest.raises(errors.FrameError):
        parse(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_offer_ends_in_a_traceback(text):
    with pytest.raises(errors.FrameError):
        updates.Signed(text if isinstance(text, bytes) else text.encode(), b"").offer()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[edge]\nrate = inf\n", r"edge\.rate is inf, expected a finite number"),
        ("[edge]\nrate = [1.0, nan]\n", r"edge\.rate is nan"),
        ("[edge]\nrate = 1e999\n", r"edge\.rate is inf"),
        ("[edge]\nrate = " + "9" * 30, r"edge\.rate is a number of more than 64 bits"),
        ("[edge]\nrate = " + "9" * 5000, "edge.toml: "),
        ("a = " + "[" * 5000 + "]" * 5000, r"edge\.toml: "),
    ],
)
def test_no_setting_is_infinite_or_without_end(tmp_path, text, reason):
    (tmp_path / "edge.toml").write_text(text)
    problems: list[str] = []
    configuration.parsed(tmp_path / "edge.toml", problems)
    assert len(problems) == 1
    assert "\n" not in problems[0]
    assert re.search(reason, problems[0])
