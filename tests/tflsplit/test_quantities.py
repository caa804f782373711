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
        ("8e6", 8_000_000),
        (4096, 4096),
    ],
)
def test_sizes_are_powers_of_1024(text, expected):
    assert quantities.parse_bytes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("2.5", 2.5),
        ("500ms", 0.5),
        ("90s", 90),
        ("2m", 120),
        ("7d", 604_800),
        ("1 w", 604_800),
        ("1e3", 1000),
        (2.5, 2.5),
    ],
)
def test_times_are_seconds_where_nothing_else_is_said(text, expected):
    assert quantities.parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "M", "-1M", "1X", "٣M", "1M2", "12 34", "1e999", None, True, [1]])
def test_anything_else_is_no_size(text):
    with pytest.raises(errors.SettingsError, match="size"):
        quantities.parse_bytes(text)


@pytest.mark.parametrize(
    "text", ["", "d", "-1s", "1y", "1d2h", "inf", "nan", -1, float("inf"), float("nan"), None, True]
)
def test_anything_else_is_no_time(text):
    with pytest.raises(errors.SettingsError, match="time"):
        quantities.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5Mbit", 5e6), ("500 kbit", 5e5), ("1Gbit/s", 1e9), ("8bit", 8), (62500.0, 62500)],
)
def test_bandwidths_are_bits_a_second(text, expected):
    assert quantities.parse_bandwidth(text) == pytest.approx(expected)


@pytest.mark.parametrize(("text", "expected"), [("1%", 0.01), ("0.01", 0.01), ("100%", 1), (0.5, 0.5)])
def test_shares_are_of_one(text, expected):
    assert quantities.parse_share(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["5", "fast", "5MB", "-1Mbit", "1 %%"])
def test_anything_else_is_no_bandwidth_and_no_share(text):
    with pytest.raises(errors.SettingsError, match="bandwidth"):
        quantities.parse_bandwidth(text)
    with pytest.raises(errors.SettingsError, match="share"):
        quantities.parse_share(f"{text} of it")
