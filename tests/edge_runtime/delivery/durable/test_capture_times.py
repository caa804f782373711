"""When a frame was captured, by the clock that nobody sets."""

import pytest

from edge_runtime.delivery.durable.capture_times import CaptureTimes
from edge_runtime.delivery.framing import Packed


def packed(sequence, captured_s, *, boot=7, captured_at_s=None):
    return Packed(boot, sequence, "", "op000", int(captured_s * 1e9), 0.0, b"", captured_at_s)


def test_frames_have_the_time_of_the_clock_that_was_set_when_they_were_captured():
    times = CaptureTimes(7)
    machine_s = [1000.0, 1001.0, 4602.0, 4603.0, 1004.0]  # set an hour ahead, and back
    for sequence, captured_s in enumerate(machine_s):
        times.note(packed(sequence, captured_s, captured_at_s=5.0 + sequence))

    found = [times.timed(packed(sequence, captured_s)).captured_at_s for sequence, captured_s in enumerate(machine_s)]
    assert found == pytest.approx([5.0, 6.0, 7.0, 8.0, 9.0])


def test_frames_of_another_run_have_none():
    times = CaptureTimes(7)
    assert times.timed(packed(0, 1000.0)).captured_at_s is None
    times.note(packed(3, 1000.0, captured_at_s=5.0))

    assert times.timed(packed(3, 1000.0, boot=8)).captured_at_s is None
    assert times.timed(packed(2, 1000.0)).captured_at_s is None


def test_a_clock_that_is_slewed_all_day_does_not_fill_the_memory():
    times = CaptureTimes(7)
    for sequence in range(5000):
        times.note(packed(sequence, 1000.0 + sequence, captured_at_s=0.5 * sequence))

    assert times.timed(packed(4999, 5999.0)).captured_at_s == pytest.approx(2499.5)
    assert len(times._apart) < 2000
