"""What a choice is expected to cost, over what the link may turn out to be."""

import pytest

from tests.tflsplit.switching import tables
from tflsplit.switching import choices
from tflsplit.switching.goal import Goal, Outlook, Wish, score

SECOND, LOCAL = tables.choices()[1], tables.choices()[-1]
NOW = tables.present(mbit=20.0)
LINK_S = SECOND.wire_bytes * 8 / 20e6 + 0.04


def test_a_link_that_jumps_is_trusted_less_than_a_steady_one():
    steady, jumpy = Outlook(NOW, (1.0,) * 10, None), Outlook(NOW, (3.2, *(1.0,) * 9), None)

    assert score(SECOND, steady, Goal()) < score(LOCAL, steady, Goal())
    assert score(SECOND, jumpy, Goal()) == (False, pytest.approx(choices.latency_s(SECOND, NOW) + 0.22 * LINK_S))
    assert (
        score(SECOND, steady, Goal(Wish.P95))
        < score(LOCAL, steady, Goal(Wish.P95))
        < score(SECOND, jumpy, Goal(Wish.P95))
    )


def test_a_hedge_bounds_what_a_jump_costs():
    outlook = Outlook(NOW, (100.0,), hedge=1.0)

    assert outlook.latencies_s(SECOND) == [pytest.approx(choices.latency_s(SECOND, NOW) + SECOND.rest_s)]
    assert outlook.latencies_s(LOCAL) == [LOCAL.edge_s]


def test_a_missed_bound_comes_before_any_wish():
    outlook = Outlook(NOW, (1.0,), None)
    goal = Goal(Wish.BYTES, max_latency_s=0.1)

    assert score(SECOND, outlook, goal) < score(LOCAL, outlook, goal)
    assert score(LOCAL, outlook, Goal(Wish.BYTES)) < score(SECOND, outlook, Goal(Wish.BYTES))
