"""Gathering the inputs of a frame: full, or after a while."""

import numpy as np

from edge_runtime.sources import captured
from edge_runtime.sources.captured import Capture, Gathering


def capture(number, at_s):
    return Capture(number, number, at_s)


def test_a_frame_is_due_when_it_is_full():
    gathering = Gathering(3, clock=lambda: 1e9)
    for number in range(3):
        assert not gathering.is_due
        gathering.add(capture(number, 0.0))

    assert gathering.is_due
    assert [each.raw for each in gathering.take()] == [0, 1, 2]
    assert not gathering.is_due
    assert gathering.inputs == []


def test_a_frame_is_due_a_while_after_its_first_input_was_captured():
    now_s = [10.0]
    gathering = Gathering(3, 0.5, clock=lambda: now_s[0])
    gathering.add(None)
    assert (gathering.is_due, gathering.left_s) == (False, float("inf"))

    gathering.add(capture(0, 9.9))
    now_s[0] = 10.2
    gathering.add(capture(1, 10.2))
    assert not gathering.is_due
    assert round(gathering.left_s, 6) == 0.2
    now_s[0] = 10.4
    assert gathering.is_due


def test_one_input_is_passed_on_and_several_become_rows():
    one = (np.ones((1, 2), np.int8), np.zeros((1, 3), np.int8))

    assert captured.rows([one]) is one
    assert [each.shape for each in captured.rows([one, one, one])] == [(3, 2), (3, 3)]
