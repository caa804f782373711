"""What the state of a rollout tells of its devices."""

import pytest

from broker.rollout import statefile
from broker.rollout.statefile import Plan, State
from broker.rollout.terms import Terms

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def state():
    plan = Plan("d", "9f" * 32, True, None, None, None, Terms(canary=2, wave=2))
    with statefile.create(None, plan, NAMES) as made:
        yield made


def take(state, phase, *names):
    state.course.phase = phase
    for name in names:
        state.entries[name].state, state.entries[name].phase = State.INSTALLED, phase


def test_those_are_away_that_were_passed_over_when_their_turn_had_come(state):
    assert state.away() == []

    take(state, 1, "a", "c")
    assert state.away() == ["b"]

    take(state, 2, "d")  # of two: `e` would be the other if it were there
    assert state.away() == ["b", "e"]
    state.want(statefile.Wish.PAUSE)
    assert state.away() == ["b"]

    state.want(statefile.Wish.RUN)
    state.entries["b"].phase = 2  # taken, and not offered anything yet
    assert state.away() == []
