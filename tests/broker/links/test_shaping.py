"""When bytes come out of a link, on invented clocks."""

import math
import random

import pytest

from broker.links.shaping import Schedule, Shape
from tflsplit import errors


def schedule(**shape):
    return Schedule(Shape(**shape), random.Random(1))


def test_bytes_take_their_time_at_the_rate_and_then_the_delay():
    link = schedule(bandwidth_bps=8_000, delay_s=0.5)

    assert link.out_at_s(0.0, 1000) == pytest.approx(1.5)


def test_what_comes_next_waits_for_what_is_under_way():
    link = schedule(bandwidth_bps=8_000)

    assert [link.out_at_s(0.0, 500), link.out_at_s(0.1, 500)] == pytest.approx([0.5, 1.0])


def test_a_rest_saves_up_no_more_than_the_burst():
    assert schedule(bandwidth_bps=8_000).out_at_s(10.0, 1000) == pytest.approx(11.0)
    assert schedule(bandwidth_bps=8_000, burst_bytes=600).out_at_s(10.0, 1000) == pytest.approx(10.4)
    assert schedule(bandwidth_bps=8_000, burst_bytes=5000).out_at_s(10.0, 1000) == pytest.approx(10.0)


def test_jitter_keeps_order():
    link = schedule(delay_s=0.1, jitter_s=1.0)
    out = [link.out_at_s(number * 0.01, 1) for number in range(200)]

    assert out == sorted(out)
    assert 0.1 <= out[0] <= 1.1


def test_a_link_without_bandwidth_adds_its_delay_only():
    assert schedule(delay_s=0.2).out_at_s(3.0, 10**9) == pytest.approx(3.2)


@pytest.mark.parametrize(
    "shape", [{"bandwidth_bps": 0}, {"bandwidth_bps": math.nan}, {"delay_s": -1}, {"jitter_s": -1}]
)
def test_links_that_cannot_be_are_refused(shape):
    with pytest.raises(errors.SettingsError):
        Shape(**shape)


def test_slow_links_take_single_segments_and_fast_ones_large_pieces():
    assert Shape(bandwidth_bps=500e3).piece_bytes == 1460
    assert Shape(bandwidth_bps=20e6).piece_bytes == 5000
    assert Shape().piece_bytes == 65_536
