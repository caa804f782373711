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


def test_runs_of_a_device_are_forgotten_in_the_order_of_their_last_result():
    seen = deduplication.Deduplication()
    for boot in range(deduplication.RUNS + 1):
        seen.is_first("a", boot, 7)

    assert not seen.is_first("a", deduplication.RUNS, 7)
    assert seen.is_first("a", 0, 7)


def test_devices_make_room_in_the_order_of_their_last_result_and_are_counted():
    seen = deduplication.Deduplication(most_bytes=10_000)
    for number in range(20):
        seen.is_first(f"device-{number}", 0, 0)
    there = [number for number in range(20) if f"device-{number}" in seen._devices]

    assert seen.held_bytes <= 10_000
    assert there == list(range(seen.forgotten, 20))
    assert 0 < seen.forgotten < 20
    assert seen.is_first("device-0", 0, 0)
    assert not seen.is_first("device-19", 0, 0)


def test_twenty_thousand_devices_that_lack_old_results_get_each_result_once():
    seen, devices = deduplication.Deduplication(), [f"device-{number}" for number in range(20_000)]
    far = deduplication.REMEMBERED - 1
    sequences = (0, far, 0, far, 5, 5)
    firsts = [[seen.is_first(device, 1, sequence) for device in devices] for sequence in sequences]

    assert [set(each) for each in firsts] == [{True}, {True}, {False}, {False}, {True}, {False}]
    assert not seen.forgotten


def test_what_is_held_is_what_python_holds_and_bounded_however_long_a_run_is():
    seen = deduplication.Deduplication()
    for sequence in range(0, 100_000, 3):
        seen.is_first("a", 1, sequence)
    (run,) = seen._devices.get("a")._runs.values()

    assert sys.getsizeof(run.missing) <= run.held_bytes < 5000


def test_a_run_whose_results_all_came_takes_next_to_nothing():
    seen = deduplication.Deduplication()
    for sequence in range(100_000):
        seen.is_first("a", 1, sequence)

    assert seen.held_bytes < 1000
