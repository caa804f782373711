"""Simulated clocks and ways: whatever they do, the truth lies within what is stated."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.monitoring import clock_offset

# Times here are up to days; a float of that size is exact to some 10 picoseconds, and each estimate adds a few of them.
ROUNDING_S = 1e-8

delays = st.floats(1e-6, 2.0)  # nothing travels in no time
exchanges = st.lists(st.tuples(delays, st.floats(0.0, 1.0), delays, st.floats(0.0, 30.0)), min_size=1, max_size=60)


def last(simulated):
    """When the last exchange ended."""
    return max(now_s for now_s, _ in simulated)


def simulate(estimate, exchanges, offset_at):
    """Feeds exchanges (way out, time there, way back, pause after) and yields (now, least round trip so far)."""
    now_s, least_s = 1000.0, float("inf")
    for out_s, there_s, back_s, pause_s in exchanges:
        sent, received = now_s, now_s + out_s
        answered = received + there_s
        arrived = answered + back_s
        estimate.add(sent, received + offset_at(received), answered + offset_at(answered), arrived)
        least_s = min(least_s, out_s + back_s)
        yield arrived, least_s
        now_s = arrived + pause_s


@given(exchanges, st.floats(-100_000, 100_000))
def test_the_truth_is_within_the_stated_error_which_is_at_most_half_the_least_round_trip(exchanges, offset_s):
    estimate = clock_offset.ClockOffset(drift=0.0)
    for now_s, least_s in simulate(estimate, exchanges, lambda at_s: offset_s):
        found = estimate.at(now_s)

        assert abs(found.offset_s - offset_s) <= found.error_s + ROUNDING_S
        assert found.error_s <= least_s / 2 + ROUNDING_S
    assert estimate.steps == 0


@given(exchanges, st.floats(-1000, 1000), st.floats(-1.0, 1.0))
def test_a_clock_that_drifts_is_followed(exchanges, offset_s, share):
    drift = share * clock_offset.DRIFT
    estimate = clock_offset.ClockOffset()

    def offset_at(at_s):
        return offset_s + drift * (at_s - 1000.0)

    for now_s, _ in simulate(estimate, exchanges, offset_at):
        found = estimate.at(now_s)

        assert abs(found.offset_s - offset_at(now_s)) <= found.error_s + ROUNDING_S


@given(exchanges, st.floats(-1000, 1000), st.floats(0.0, 10_000.0))
def test_the_error_grows_while_nothing_is_heard(exchanges, offset_s, silence_s):
    estimate = clock_offset.ClockOffset()
    now_s = last(simulate(estimate, exchanges, lambda at_s: offset_s))

    grown = estimate.at(now_s + silence_s)
    assert grown.error_s == pytest.approx(estimate.at(now_s).error_s + clock_offset.DRIFT * silence_s)
    assert abs(grown.offset_s - offset_s) <= grown.error_s + ROUNDING_S


def test_unequal_ways_are_told_apart_by_the_quickest_of_each():
    """A way out of 1 ms once and a way back of 1 ms once, never both: an NTP filter would state 50 ms."""
    estimate = clock_offset.ClockOffset(drift=0.0)
    last(simulate(estimate, [(0.001, 0.0, 0.1, 1.0), (0.1, 0.0, 0.001, 1.0)], lambda at_s: 5.0))

    found = estimate.at(1000.0)
    assert found.offset_s == pytest.approx(5.0)
    assert found.error_s == pytest.approx(0.001)


def test_a_clock_that_is_set_is_noticed_and_learnt_anew():
    estimate = clock_offset.ClockOffset()
    ways = [(0.01, 0.005, 0.01, 0.1)] * 20
    last(simulate(estimate, ways, lambda at_s: 0.0))
    now_s = last(simulate(estimate, ways, lambda at_s: 60.0))

    assert estimate.steps == 1
    assert estimate.at(now_s).offset_s == pytest.approx(60.0, abs=0.011)


def test_times_that_cannot_be_are_passed_over():
    estimate = clock_offset.ClockOffset()
    estimate.add(10.0, 20.0, 30.0, 11.0)

    assert estimate.at(11.0) is None


def test_a_congested_link_does_not_spoil_what_was_known():
    estimate = clock_offset.ClockOffset()
    random_ways = random.Random(0)
    quick = [(0.002, 0.001, 0.002, 0.1)] * 10
    slow = [(random_ways.uniform(0.5, 1.5), 0.001, random_ways.uniform(0.0, 0.1), 0.1) for _ in range(50)]
    now_s = last(simulate(estimate, quick + slow, lambda at_s: -3.0))

    assert estimate.at(now_s).error_s < 0.002 + 100 * clock_offset.DRIFT
    assert estimate.at(now_s).offset_s == pytest.approx(-3.0, abs=0.025)
