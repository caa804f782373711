"""When a cloud says that it is behind; whole reports are in `tests/tflsplit/cli/commands/test_watch.py`."""

import logging

import pytest

from broker.cloud.beside.load_reports import Pace


@pytest.fixture
def pace(caplog):
    caplog.set_level(logging.INFO)
    return Pace("plant1")


def test_frames_that_wait_for_long_are_said_once_and_when_it_is_over(pace, caplog):
    for at_s in (0.0, 10.0, 20.0):
        pace.take(800.0, at_s)
        assert pace.why is None
    for at_s in (30.0, 40.0):
        pace.take(2400.0, at_s)
    pace.take(None, 50.0)  # none was answered meanwhile
    assert pace.why == "frames come faster than tails take them: half wait over 2.4 s"
    pace.take(3.0, 60.0)
    pace.take(3.0, 70.0)
    assert pace.why is None

    behind, over = (each.getMessage() for each in caplog.records)
    assert behind.startswith("frames come faster than tails take them deployment=plant1 waited_ms=2400 remedy=")
    assert over == "tails keep up with the frames again deployment=plant1"


def test_a_burst_is_no_overload(pace, caplog):
    for at_s in range(0, 100, 10):
        pace.take(800.0 if at_s % 30 else 100.0, float(at_s))

    assert pace.why is None
    assert not caplog.records
