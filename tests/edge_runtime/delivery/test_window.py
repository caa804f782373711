"""What is sent again and when, by an invented clock."""

import dataclasses
import itertools

import pytest

from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.window import Window


def packed(sequence, *, captured_ns=0, size=10):
    return Packed(7, sequence, "", "op000", captured_ns, 0.0, bytes(size))


def window_of(*sequences, now_s=0.0):
    window = Window(8)
    for sequence in sequences:
        window.add(packed(sequence), now_s=now_s, now_ns=0)
    return window


def resendings(window, *, until_s, timeout_s):
    """When each frame would go out again, looked at ten times a second."""
    times_s = []
    for tenth in range(1, until_s * 10 + 1):
        for sent in window.overdue(tenth / 10, timeout_s):
            window.sent_again(sent, now_s=tenth / 10, now_ns=0)
            times_s.append(tenth / 10)
    return times_s


def test_each_sending_waits_twice_as_long_as_the_one_before():
    assert resendings(window_of(0), until_s=32, timeout_s=1.0) == [1.0, 3.0, 7.0, 15.0, 31.0]


def test_no_frame_waits_more_than_a_minute_for_its_next_sending():
    times_s = resendings(window_of(0), until_s=600, timeout_s=10.0)

    assert max(after - before for before, after in itertools.pairwise(times_s)) == pytest.approx(60.0)


def test_a_cloud_that_is_back_gets_frames_after_the_time_out_again():
    window = window_of(0)
    resendings(window, until_s=20, timeout_s=1.0)
    assert not window.overdue(20.0, 1.0)
    window.hurry()

    assert len(window.overdue(20.0, 1.0)) == 1


def test_who_takes_long_to_answer_is_not_asked_again_sooner():
    window = window_of(*range(8))
    for sequence in range(8):
        window.settle((7, sequence), 4.0)
    window.add(packed(8), now_s=10.0, now_ns=0)

    assert not window.overdue(14.0, 1.0)
    assert window.overdue(20.0, 1.0)


def test_what_a_queue_took_is_forgotten_once_there_is_none():
    """Frames behind others took 20 s; when nobody answers any more, those that are out were dropped on the way."""
    window = window_of(*range(8))
    window.settle((7, 0), 0.1)
    for sequence in range(1, 6):
        window.settle((7, sequence), 20.0)
    assert not window.overdue(21.0, 1.0)
    assert not window.is_silent(20.5, 20.0, 1.0)
    assert window.is_silent(21.0, 20.0, 1.0)
    window.hurry()

    assert [sent.packed.sequence for sent in window.overdue(21.0, 1.0)] == [6, 7]


def test_a_cloud_whose_quickest_answer_takes_long_is_not_silent_sooner():
    window = window_of(0, 1)
    window.settle((7, 0), 10.0)

    assert not window.is_silent(49.0, 10.0, 1.0)
    assert window.is_silent(50.0, 10.0, 1.0)


def test_nobody_is_silent_who_was_asked_nothing():
    window = window_of(0)
    window.settle((7, 0), 1.0)

    assert not window.is_silent(100.0, 1.0, 1.0)
    window.add(packed(1), now_s=99.5, now_ns=0)
    assert not window.is_silent(100.0, 1.0, 1.0)


def test_frames_of_an_absent_broker_are_not_overdue():
    window = window_of(0)
    window.postpone(100.0)

    assert not window.overdue(100.5, 1.0)
    assert window.overdue(101.0, 1.0)


def test_it_is_full_by_frames_or_by_bytes_but_always_takes_one():
    window = Window(2, max_bytes=100)
    assert window.wait_for_room(0)
    window.add(packed(0, size=1000), now_s=0, now_ns=0)
    assert not window.wait_for_room(0)
    window.settle((7, 0), 0)
    for sequence in (1, 2):
        assert window.wait_for_room(0)
        window.add(packed(sequence), now_s=0, now_ns=0)
    assert not window.wait_for_room(0)
    window.resize(3)
    assert window.wait_for_room(0)


def test_frames_of_two_runs_with_one_sequence_are_two():
    window = window_of(0)
    other = Packed(8, 0, "", "op000", 0, 0.0, b"")
    window.add(other, now_s=0, now_ns=0)

    assert window.settle((8, 0), 1.0).packed is other
    assert window.settle((8, 0), 1.0) is None
    assert len(window) == 1


def test_old_frames_are_told_by_their_capture():
    window = Window(8)
    for second in range(4):
        window.add(packed(second, captured_ns=second * 10**9), now_s=100.0, now_ns=4 * 10**9)

    assert [sent.packed.sequence for sent in window.older_than(100.0, 2.5)] == [0, 1]
    window.forget([(7, 0)])
    assert [sent.packed.sequence for sent in window.older_than(100.0, 2.5)] == [1]


def test_a_frame_of_several_inputs_stays_until_each_is_answered_once():
    window = Window(8)
    window.add(dataclasses.replace(packed(3), later_ns=(1, 2)), now_s=0.0, now_ns=0)
    key = packed(3).key

    assert window.settle(key, 0.1, 4) is not None
    assert window.settle(key, 0.1, 4) is None  # again
    assert window.settle(key, 0.1, 6) is None  # not in it
    assert key in window
    assert window.settle(key, 0.1, 3).answered == {3, 4}
    assert window.settle(key, 0.1, 5).is_answered
    assert key not in window


def test_what_is_said_of_the_whole_frame_settles_all_its_inputs():
    window = Window(8)
    window.add(dataclasses.replace(packed(3), later_ns=(1, 2)), now_s=0.0, now_ns=0)

    assert window.settle(packed(3).key, 0.1) is not None
    assert len(window) == 0
