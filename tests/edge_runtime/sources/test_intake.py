"""Captures as the compute thread gets them: each, or the newest."""

import threading

import pytest

from edge_runtime.sources import frames, intake
from tflsplit import errors

WAIT_S = 60.0


class Given:
    """A source's captures, one for each release."""

    def __init__(self):
        self._released = threading.Semaphore(0)
        self.asked = threading.Semaphore(0)
        self.failure = None

    def release(self):
        """One more is given and the next one asked for, so it was offered."""
        self._released.release()
        assert self.asked.acquire(timeout=WAIT_S)

    def captures(self):
        number = 0
        while True:
            self.asked.release()
            assert self._released.acquire(timeout=WAIT_S)
            if self.failure is not None:
                raise self.failure
            yield frames.Capture(number, number)
            number += 1


@pytest.fixture
def given():
    return Given()


@pytest.fixture
def lost():
    return []


@pytest.fixture
def newest(given, lost):
    reader = intake.Newest(given.captures(), lambda: None, is_live=True, on_lost=lambda: lost.append(1))
    assert given.asked.acquire(timeout=WAIT_S)
    yield reader
    given.failure = given.failure or errors.DeviceError("over")
    given._released.release()
    reader.close()


def test_only_the_newest_is_taken_and_the_others_are_told_of(given, newest, lost):
    for _ in range(4):
        given.release()

    assert newest.take(WAIT_S).raw == 3
    assert len(lost) == 3
    assert newest.take(0.0) is None
    assert not newest.is_over


def test_a_source_that_breaks_gives_what_it_took_and_then_its_error(given, newest):
    given.release()
    given.failure = errors.DeviceError("unplugged")
    given._released.release()

    assert newest.take(WAIT_S).raw == 0
    with pytest.raises(errors.DeviceError, match="unplugged"):
        newest.take(WAIT_S)


def test_the_last_capture_is_taken_before_it_is_over():
    captures = iter([frames.Capture(0, 0)])
    newest = intake.Newest(captures, lambda: None, is_live=True, on_lost=lambda: None)
    found = [newest.take(WAIT_S)]
    while not newest.is_over:
        found.append(newest.take(WAIT_S))
    newest.close()

    assert [one for one in found if one is not None] == [frames.Capture(0, 0)]


def test_a_live_source_with_a_rate_is_read_on_between():
    """What is not due is passed over, and is no loss: nobody asked for it."""
    lost = []
    captures = (frames.Capture(number, number) for number in range(1000))
    newest = intake.Newest(captures, lambda: 0.001, is_live=True, on_lost=lambda: lost.append(1))
    found = [newest.take(WAIT_S)]
    while not newest.is_over:
        found.append(newest.take(WAIT_S))
    newest.close()

    assert [one.raw for one in found if one is not None] == [0]
    assert lost == []


def test_a_paced_source_is_not_taken_from_before_it_is_due():
    newest = intake.Pulled(iter([frames.Capture(0, 0), frames.Capture(1, 1)]), lambda: 0.001)

    assert newest.take(WAIT_S).raw == 0
    assert newest.take(0.01) is None
    assert not newest.is_over
