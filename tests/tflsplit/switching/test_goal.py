"""What a choice is expected to cost, over what the link may turn out to be."""

import pytest

from tests.tflsplit.switching import tables
from tflsplit.switching import choices
from tflsplit.switching.goal import Goal, Outlook, Wish, score
from tflsplit.switching.lateness import Late

SECOND, LOCAL = tables.choices()[1], tables.choices()[-1]
NOW = tables.present(mbit=20.0)
LINK_S = SECOND.wire_bytes * 8 / 20e6 + 0.04


def test_a_link_that_jumps_is_trusted_less_than_a_steady_one():
    steady, jumpy = Outlook(NOW, (1.0,) * 10, None), Outlook(NOW, (3.2, *(1.0,) * 9), None)

    assert score(SECOND, steady, Goal()) < score(LOCAL, steady, Goal())
    assert score(SECOND, jumpy, Goal()) == (False, pytest.approx(choices.latency_s(SECOND, NOW) + 0.22 * LINK_S))


def test_for_the_95th_percentile_it_counts_whether_a_frame_may_be_late():
    goal, jumpy = Goal(Wish.P95), (3.2, *(1.0,) * 9)

    def outlook(after_s, weight=20.0, risk=0.0, errors=jumpy):
        return Outlook(NOW, errors, None, Late(after_s, weight, risk))

    assert score(SECOND, outlook(0.12, errors=(1.0,)), goal) < score(LOCAL, outlook(0.12, errors=(1.0,)), goal)
    assert score(LOCAL, outlook(0.12), goal) < score(SECOND, outlook(0.12), goal)
    assert score(LOCAL, outlook(0.12, risk=0.1, errors=(1.0,)), goal) < score(
        SECOND, outlook(0.12, risk=0.1, errors=(1.0,)), goal
    )
    # Later than what jumps take it is no longer late, and with nothing late so far a risk may be taken.
    assert score(SECOND, outlook(1.0), goal)[1] == score(SECOND, outlook(0.12, weight=0.0), goal)[1]
    # Both are late: the one that ends with the link.
    slow = Outlook(tables.present(mbit=1.9), (1.0,), None, Late(0.1, 20.0, 0.0))
    assert choices.latency_s(LOCAL, slow.present) < choices.latency_s(SECOND, slow.present)
    assert score(SECOND, slow, goal) < score(LOCAL, slow, goal)


def test_a_hedge_bounds_what_a_jump_costs():
    outlook = Outlook(NOW, (100.0,), hedge=1.0)

    assert outlook.latencies_s(SECOND) == [pytest.approx(choices.latency_s(SECOND, NOW) + SECOND.rest_s)]
    assert outlook.latencies_s(LOCAL) == [LOCAL.edge_s]


def test_a_missed_bound_comes_before_any_wish():
    outlook = Outlook(NOW, (1.0,), None)
    goal = Goal(Wish.BYTES, max_latency_s=0.1)

    assert score(SECOND, outlook, goal) < score(LOCAL, outlook, goal)
    assert score(LOCAL, outlook, Goal(Wish.BYTES)) < score(SECOND, outlook, Goal(Wish.BYTES))
