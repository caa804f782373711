"""Which candidates may be used, by what the clouds say, and what is told of the others."""

import logging

import pytest

from broker.messages import announcements, topics
from broker.messages.announcements import Announcement
from broker.transport.protocol import Message
from edge_runtime.adapting.open_tails import OpenTails
from edge_runtime.delivery.clouds import Clouds

PACKAGE = "ab" * 32
CUTS = ("input", "op000", "output")
SOON_S, LATE_S = 11.0, 31.0


@pytest.fixture
def clouds():
    return Clouds()


@pytest.fixture
def tails(clouds):
    return OpenTails(clouds, PACKAGE, CUTS, frozenset({"op000", "output"}))


def say(clouds, name, *ready, retained=False, package=PACKAGE, boot=1, gone=()):
    opened = frozenset((package, cut) for cut in ready)
    told = Announcement(boot, ((package, "digits"),), None, opened, gone=frozenset(gone))
    assert announcements.parse(told.as_json()) == told
    return clouds.take(Message(topics.topic("d", name, topics.Kind.SERVES), told.as_json(), retained=retained))


def test_every_cloud_has_to_have_a_tail_open(clouds, tails):
    assert tails.look(0.0) == {"op000", "output"}
    assert tails.look(1.0) is None  # nothing has changed
    say(clouds, "one", *CUTS)
    assert tails.look(2.0) == set(CUTS)
    say(clouds, "two", "op000")
    assert tails.look(3.0) == {"op000", "output"}
    say(clouds, "two", "op000", "input")
    assert tails.look(4.0) == set(CUTS)


def test_clouds_of_another_package_do_not_count(clouds, tails):
    say(clouds, "one", *CUTS)
    say(clouds, "old", package="cd" * 32)

    assert tails.look(0.0) == set(CUTS)


def test_what_is_retained_of_a_cloud_that_says_nothing_any_more_holds_nobody_for_long(clouds, tails):
    say(clouds, "dead", "op000", retained=True)
    tails.online(0.0)
    say(clouds, "one", *CUTS)
    assert tails.look(1.0) == {"op000", "output"}
    assert tails.look(SOON_S) == set(CUTS)
    say(clouds, "dead", "op000")  # it lives

    assert tails.look(SOON_S + 1) == {"op000", "output"}


def test_a_cloud_that_another_saw_die_holds_nobody_until_it_speaks_again(clouds, tails):
    tails.online(0.0)
    say(clouds, "one", *CUTS)
    say(clouds, "two", "op000")
    assert tails.look(SOON_S) == {"op000", "output"}
    assert not say(clouds, "one", *CUTS, gone=("two",))  # which is no news of itself
    assert tails.look(SOON_S + 1) == set(CUTS)
    say(clouds, "two", "op000", boot=2)

    assert tails.look(SOON_S + 2) == {"op000", "output"}


def test_what_is_not_used_is_told_once_with_who_lacks_it(clouds, tails, caplog):
    caplog.set_level(logging.WARNING)
    tails.online(0.0)
    say(clouds, "one", *CUTS)
    say(clouds, "two", "op000")
    for now_s in (1.0, LATE_S, LATE_S + 1):
        tails.tell(now_s, is_answered=True)

    assert tails.missing == "input (two has not opened their tails)"
    assert caplog.text.count("cuts not used cuts=input (two has not opened their tails)") == 1
    say(clouds, "two", *CUTS)
    tails.tell(LATE_S + 2, is_answered=True)
    assert tails.missing is None


def test_a_cloud_that_answers_and_tells_nothing_is_told_of(tails, caplog):
    tails.online(0.0)
    tails.tell(LATE_S, is_answered=False)  # there may be none at all
    assert tails.missing is None
    tails.tell(LATE_S, is_answered=True)

    assert "one at a --queue does with --broker" in caplog.text
