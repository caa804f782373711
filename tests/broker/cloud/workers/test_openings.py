"""What each worker has still to open."""

import pytest

from broker.cloud import tail
from broker.cloud.workers.openings import Openings

FIRST, SECOND = (0, "op000"), (0, "op001")


@pytest.fixture
def openings():
    made = Openings(1)
    made.started(0, ())
    made.started(1, (FIRST,))
    return made


def test_it_is_told_once_all_workers_have_it(openings):
    told = []
    openings.want(SECOND, "job", lambda: told.append(SECOND))
    assert openings.lacks(0) == openings.lacks(1) == (SECOND, "job")
    openings.opened(0, SECOND)
    assert not told
    assert openings.lacks(0) is None
    openings.opened(1, SECOND)

    assert told == [SECOND]
    assert openings.everywhere == (SECOND,)
    openings.started(2, openings.everywhere)
    assert openings.lacks(2) is None


def test_a_worker_that_ended_keeps_nobody_waiting_and_its_successor_opens_what_it_lacks(openings):
    told = []
    openings.want(SECOND, "job", lambda: told.append(SECOND))
    openings.opened(0, SECOND)
    openings.ended(1)
    assert told == [SECOND]
    openings.started(1, ())

    assert openings.lacks(1) == (SECOND, "job")


def test_without_any_worker_nothing_is_open(openings):
    told = []
    openings.want(SECOND, "job", lambda: told.append(SECOND))
    openings.ended(0)
    openings.ended(1)

    assert not told


def test_what_failed_is_not_tried_again(openings, caplog):
    openings.want(SECOND, "job", pytest.fail)
    openings.failed(SECOND, "for a test")

    assert openings.lacks(0) is openings.lacks(1) is None
    assert "cut=op001 reason=for a test" in caplog.text


def test_no_more_are_remembered_than_stay_open(openings, monkeypatch):
    monkeypatch.setattr(tail, "KEPT", 1)
    bounded = Openings(1)
    bounded.started(0, ())
    for entry in (FIRST, SECOND):
        bounded.want(entry, "job", lambda: None)

    assert bounded.lacks(0) == (SECOND, "job")


def test_one_that_is_wanted_again_is_opened_again(openings):
    told = []
    openings.want(FIRST, "job", lambda: told.append(FIRST))

    assert openings.lacks(0) == openings.lacks(1) == (FIRST, "job")
