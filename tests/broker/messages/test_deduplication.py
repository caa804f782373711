"""One result of each frame, whatever comes twice, in memory that does not grow."""

import sys

from hypothesis import given
from hypothesis import strategies as st

from broker.messages import deduplication

frames = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 40))


@given(st.lists(frames, max_size=200))
def test_a_frame_is_first_exactly_once_in_any_order(arriving):
    seen = deduplication.Deduplication()
    firsts = [frame for frame in arriving if seen.is_first(*frame)]

    assert sorted(firsts) == sorted(set(arriving))


def test_every_repetition_within_the_reach_is_noticed():
    seen = deduplication.Deduplication()
    reach = range(deduplication.REMEMBERED)

    assert all(seen.is_first("a", 1, sequence) for sequence in reach)
    assert not any(seen.is_first("a", 1, sequence) for sequence in reach)


def test_a_result_that_is_too_old_to_tell_is_given_rather_than_lost():
    seen = deduplication.Deduplication()
    seen.is_first("a", 1, 0)
    seen.is_first("a", 1, deduplication.REMEMBERED)

    assert seen.is_first("a", 1, 0)
    assert not seen.is_first("a", 1, deduplication.REMEMBERED)


def test_a_leap_to_the_largest_sequence_costs_nothing():
    seen = deduplication.Deduplication()
    seen.is_first("a", 1, 0)

    assert seen.is_first("a", 1, 2**64 - 1)
    assert not seen.is_first("a", 1, 2**64 - 1)


def test_runs_and_devices_are_forgotten_in_the_order_of_their_last_result():
    seen = deduplication.Deduplication()
    for boot in range(deduplication.RUNS + 1):
        seen.is_first("a", boot, 7)
    for number in range(deduplication.DEVICES - 1):
        seen.is_first(f"device-{number}", 0, 0)

    assert not seen.is_first("a", deduplication.RUNS, 7)
    assert seen.is_first("a", 0, 7)
    seen.is_first("one too many", 0, 0)
    assert seen.is_first("device-0", 0, 0)


def test_a_run_takes_four_kilobytes_however_long_it_is():
    seen = deduplication.Deduplication()
    for sequence in range(0, 100_000, 3):
        seen.is_first("a", 1, sequence)
    (run,) = seen._devices["a"]._runs.values()

    assert sys.getsizeof(run.seen) < 5000
