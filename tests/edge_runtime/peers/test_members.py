"""Which machines the source counts on, by what it hears of them."""

import pytest

from broker.messages.peers.standing import Standing, State
from broker.messages.presence import Status
from edge_runtime.peers.members import Members
from tflsplit.kernels import keeping


@pytest.fixture
def members():
    return Members(("m1",), "9f", (), keeping.here(), lost_after_s=5.0, allows_inexact=False)


def standing(boot):
    return Standing(boot, "9f", 0, State.READY, kernel_class=keeping.here())


def test_a_machine_that_was_lost_is_back_once_its_new_process_says_how_it_stands(members):
    members.heard("m1", standing(1), 10.0)
    assert members.usable(10.1) == {"m1"}
    members.told("m1", Status("offline", 1, 1, "lost", 5000))
    assert members.problem("m1", 10.2) == "its connection is lost"
    members.lost("m1", 10.2)
    members.told("m1", Status("online", 2, 1, None, 5000))
    assert members.usable(10.3) == frozenset()
    members.heard("m1", standing(2), 10.4)
    assert members.usable(10.5) == {"m1"}


def test_a_machine_that_is_lost_again_has_to_wait(members):
    for lost_at_s in (1.0, 2.0):
        members.heard("m1", standing(1), lost_at_s)
        members.lost("m1", lost_at_s)
    members.heard("m1", standing(1), 3.0)
    assert members.usable(3.1) == frozenset()
    members.heard("m1", standing(1), 4.0)
    assert members.usable(4.1) == {"m1"}
