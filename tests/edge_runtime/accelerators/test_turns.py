"""The order of turns, by a clock of the test's own."""

import threading

import pytest
from waiting import WAIT_S

from edge_runtime.accelerators.turns import Share, Turns


class Users:
    """Threads that each want a turn as soon as they had one; `clock` goes on by what a turn costs."""

    def __init__(self, costs_s, weights, most_turns):
        self.now_s = 0.0
        self.had = []
        self.shares = [Share(weight) for weight in weights]
        self._turns = Turns(lambda: self.now_s)
        self._costs_s = costs_s
        self._most_turns = most_turns
        threads = [threading.Thread(target=self._use, args=(at,)) for at in range(len(weights))]
        gate = Share()
        with self._turns.turn(gate):  # until all wait
            for thread in threads:
                thread.start()
            while len(self._turns._waiting) < len(threads):
                threading.Event().wait(0.001)
        for thread in threads:
            thread.join(WAIT_S)

    def _use(self, at):
        while True:
            with self._turns.turn(self.shares[at]):
                if len(self.had) >= self._most_turns:
                    return
                self.had.append(at)
                self.now_s += self._costs_s[at]
                # The others wait already, or this thread would have the next turn as well.
                while len(self._turns._waiting) < len(self.shares) - 1:
                    threading.Event().wait(0.001)


@pytest.mark.parametrize(
    ("costs_s", "weights"),
    [((1, 1, 1), (1, 1, 1)), ((1, 10, 3), (1, 1, 1)), ((2, 2, 5), (1, 2, 4))],
    ids=["alike", "uneven-costs", "weighted"],
)
def test_everybody_gets_time_by_weight_whatever_a_turn_costs(costs_s, weights):
    users = Users(costs_s, weights, 300)
    per_weight = [share.used_s / share.weight for share in users.shares]
    # Nobody is further ahead than one turn of each.
    assert max(per_weight) - min(per_weight) <= 2 * max(
        cost / weight for cost, weight in zip(costs_s, weights, strict=True)
    )


def test_work_between_two_turns_costs_no_share():
    """The heavy one asks again when the next turn, somebody else's, has begun."""
    turns = Turns(lambda: now_s[0])
    now_s, had, is_over = [0.0], [], threading.Event()
    shares = [Share(2.0), Share(), Share(), Share()]

    def wait_for(users):
        while len(turns._waiting) < users and not is_over.is_set():
            threading.Event().wait(0.001)

    def use(at):
        while not is_over.is_set():
            with turns.turn(shares[at]):
                had.append(at)
                if len(had) >= 200:
                    is_over.set()
                now_s[0] += 1
                # The light ones wait already but for who has the turn, and the heavy one if its work is done.
                wait_for(3)
            if at == 0:
                count = len(had)
                while len(had) == count and not is_over.is_set():
                    threading.Event().wait(0.001)

    threads = [threading.Thread(target=use, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert had.count(0) / len(had) == pytest.approx(0.4, abs=0.03)


def test_whoever_was_idle_gets_credit_for_one_turn():
    now_s = [0.0]
    turns = Turns(lambda: now_s[0])
    busy, late = Share(), Share()
    for _ in range(100):
        with turns.turn(busy):
            now_s[0] += 1
    with turns.turn(late):
        now_s[0] += 1
    assert busy.tag - late.tag <= 2


def test_a_turn_that_fails_is_over():
    turns, share = Turns(), Share()
    with pytest.raises(RuntimeError), turns.turn(share):
        raise RuntimeError
    with turns.turn(share):
        pass
    assert share.turns == 2
