"""Bandwidth and round trip from invented points."""

import pytest

from tflsplit.timings import fitting
from tflsplit.timings.links import Point
from tflsplit.timings.profiles import Timing


def point(size, seconds, throughput_bps=1.0):
    return Point(size, Timing((seconds,)), throughput_bps)


SIZES = (100, 1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000)


def test_points_on_a_line_give_it_back():
    bandwidth_bps, rtt_s = fitting.fit([point(size, 0.02 + size * 8 / 5e6) for size in SIZES])

    assert bandwidth_bps == pytest.approx(5e6)
    assert rtt_s == pytest.approx(0.02)


def test_one_size_that_was_disturbed_does_not_move_it():
    points = [point(size, 0.02 + size * 8 / 5e6) for size in SIZES]
    points[3] = point(SIZES[3], 1.0)
    bandwidth_bps, rtt_s = fitting.fit(points)

    assert bandwidth_bps == pytest.approx(5e6, rel=0.02)
    assert rtt_s == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("points", [[point(100, 0.01, 3e6)], [point(100, 0.01, 1e6), point(1000, 0.01, 3e6)]])
def test_where_nothing_grows_with_the_size_throughput_stands_for_bandwidth(points):
    assert fitting.fit(points) == (3e6, 0.01)


def test_a_round_trip_is_never_negative():
    _, rtt_s = fitting.fit([point(100, 0.0), point(1000, 0.09)])

    assert rtt_s == 0.0
