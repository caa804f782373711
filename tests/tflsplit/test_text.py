import json

import pytest

from tflsplit import text


@pytest.mark.parametrize(("count", "words"), [(0, "0 frames"), (1, "1 frame"), (2, "2 frames"), (1000, "1,000 frames")])
def test_one_is_no_plural(count, words):
    assert text.counted(count, "frame") == words


@pytest.mark.parametrize(
    ("share", "signed", "shown"),
    [
        (0.125, False, "12.5%"),
        (0.125, True, "+12.5%"),
        (-0.0004, True, "0.0%"),
        (0.0004, True, "0.0%"),
        (-0.0, False, "0.0%"),
        (-0.0006, True, "-0.1%"),
        (float("inf"), True, "+inf%"),
    ],
)
def test_a_share_is_no_zero_with_a_sign(share, signed, shown):
    assert text.percent(share, signed=signed) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain, été, 猫", "plain, été, 猫"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("a\rb\tc", "a\\rb\\tc"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(given, shown):
    assert text.printable(given) == shown


def test_the_columns_of_wide_and_combining_characters():
    assert [text.columns(each) for each in ("abc", "猫", "e\u0301")] == [3, 2, 1]


@pytest.mark.parametrize("name", ["block_3_expand_relu", "猫" * 9, "a"])
@pytest.mark.parametrize("width", range(1, 25))
def test_a_long_name_keeps_both_ends_and_the_width(name, width):
    short = text.shortened(name, width)

    assert text.columns(short) <= width or len(name) == 1
    if short != name:
        head, tail = short.split(text.ELLIPSIS)
        assert name.startswith(head)
        assert name.endswith(tail)
        assert len(head) - len(tail) in (0, 1)


FUSED = [
    f"MobileNetV2/expanded_conv_{number}/{what}/Relu6;MobileNetV2/expanded_conv_{number}/{what}/Conv2D"
    for number in range(1, 17)
    for what in ("expand", "project")
]
PREFIXES = ["a" * length for length in range(1, 60)]


@pytest.mark.parametrize("names", [FUSED, PREFIXES, ["input", *(f"{'x' * 70}{n}{'y' * 70}" for n in range(100))]])
@pytest.mark.parametrize("width", [16, 19, 40, 80])
def test_names_that_are_shortened_beside_each_other_are_told_apart(names, width):
    short = text.told_apart(names, width)

    assert list(short) == names
    assert max(map(text.columns, short.values())) <= width
    if names is not PREFIXES or width > 59:  # of one letter alone there is nothing to show but the length
        assert len(set(short.values())) == len(names)


def test_names_that_differ_once_shortened_are_shortened_alone():
    assert text.told_apart(["a/long/name", "another/name", "b"], 8) == {
        "a/long/name": "a/lo…ame",
        "another/name": "anot…ame",
        "b": "b",
    }
    assert text.told_apart(["block/1/relu", "block/2/relu"], 8) == {
        "block/1/relu": "…1/relu",
        "block/2/relu": "…2/relu",
    }


@pytest.mark.parametrize("encoding", [None, "utf-8", "ascii", "latin-1"])
def test_a_line_of_json_is_json_in_any_encoding_and_prints(encoding):
    value = {"name": "été → 猫", "bad": "\x1b[2J\x9b\u202e\udcff\n", "emoji": "\U0001f600"}
    line = text.json_line(value, encoding)

    assert json.loads(line) == value
    assert line.isprintable()
    line.encode(encoding or "utf-8")


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 120, 10_000])
def test_lines_are_broken_at_spaces_only_and_what_is_to_be_copied_nowhere(width):
    command = "`pip install --editable '/a b/c[edge]'`"
    words = f"  install it: {command}; where there is none, at https://example.org/a-long/path, 猫猫 take another"
    lines = text.wrapped(words, width)

    assert " ".join(line.strip() for line in lines) == words.strip()
    assert all(line.startswith("  ") for line in lines)
    assert sum(command in line for line in lines) == 1
    assert not [line for line in lines if text.columns(line) > width and " " in line.strip() and command not in line]


@pytest.mark.parametrize("words", ["", " ", "a", "`a", "a`b c`d e"])
def test_the_words_are_the_same_however_few(words):
    assert "".join(text.wrapped(words, 80)).strip() == words.strip()


@pytest.mark.parametrize(
    ("word", "found"), [("wfi", "; did you mean 'wifi'?"), ("WIFI", "; did you mean 'wifi'?"), ("sun", ""), ("", "")]
)
def test_only_what_is_alike_is_suggested(word, found):
    assert text.meant(word, ("wifi", "ethernet", "4g")) == found
