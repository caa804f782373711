"""Sizes and times as people write them."""

import pytest

from tflsplit import errors, quantities


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1000", 1000),
        ("512M", 512 << 20),
        ("1.5GiB", 3 << 29),
        ("64 kb", 64 << 10),
        ("2T", 2 << 40),
        ("7B", 7),
    ],
)
def test_sizes_are_powers_of_1024(text, expected):
    assert quantities.parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("2.5", 2.5), ("500ms", 0.5), ("90s", 90), ("2m", 120), ("7d", 604_800), ("1 w", 604_800)],
)
def test_times_are_seconds_where_nothing_else_is_said(text, expected):
    assert quantities.parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "M", "-1M", "1X", "1e9", "٣M", "1M2", "12 34"])
def test_anything_else_is_no_size(text):
    with pytest.raises(errors.SettingsError, match="as 512M"):
        quantities.parse_bytes(text)


@pytest.mark.parametrize("text", ["", "d", "-1s", "1y", "1e3", "1d2h", "inf", "nan"])
def test_anything_else_is_no_time(text):
    with pytest.raises(errors.SettingsError, match="as 7d"):
        quantities.parse_duration(text)
