"""The controller moves for the right reason, and not for nothing."""

import random
from dataclasses import replace

import pytest

from tests.tflsplit.switching import tables
from tflsplit.planning.scenario import Power, Prices
from tflsplit.switching.choices import Choice
from tflsplit.switching.controller import Controller, Tuning
from tflsplit.switching.goal import Goal, Wish
from tflsplit.switching.policy import Answer


def made(goal=None, mbit=20.0, **tuning):
    return Controller(tables.choices(), tables.present(mbit=mbit), goal or Goal(), Tuning(**tuning))


def answered(controller, now_s, *, mbit=20.0, edge=1.0, cloud=1.0, wait_s=0.0):
    """One frame at the cut that the controller picks."""
    choice = controller.pick(now_s)
    edge_s = choice.edge_s * edge
    if choice.is_local:
        controller.learn(now_s, Answer(choice, now_s, 0.0, edge_s, None))
    else:
        bits = choice.wire_bytes * 8
        controller.learn(
            now_s, Answer(choice, now_s, bits, edge_s, 0.04 + bits / (mbit * 1e6), wait_s, choice.cloud_s * cloud)
        )
    return choice.id


def test_a_fast_link_sends_the_input_and_a_slow_one_less():
    controller = made()
    assert answered(controller, 0.0) == "op020"
    taken = [answered(controller, step / 10, mbit=1.0) for step in range(1, 30)]

    assert taken[-1] == "output"
    assert {each.reason for each in controller.switches} == {"link"}


def test_a_busy_server_moves_the_cut_for_its_own_reason_and_back():
    controller = made(mbit=100.0)
    assert answered(controller, 0.0, mbit=100.0) == "input"
    busy = [answered(controller, step / 10, mbit=100.0, cloud=6.0) for step in range(1, 60)]
    assert busy[-1] == "output"
    assert {each.reason for each in controller.switches} == {"server"}
    # While nothing is sent nobody says that the server is free again: what was learnt grows old.
    idle = [answered(controller, 6.0 + step / 10, mbit=100.0) for step in range(900)]

    assert idle[-1] == "input"
    assert controller.switches[-1].reason == "server"


def test_a_hot_device_sends_more():
    controller = made(mbit=2.0)
    assert answered(controller, 0.0, mbit=2.0) in {"output", "op060"}
    taken = [answered(controller, step / 10, mbit=2.0, edge=4.0) for step in range(1, 60)]

    assert taken[-1] in {"op020", "input"}
    assert "device" in {each.reason for each in controller.switches}


def test_a_small_gain_moves_nothing():
    controller = made(least_gain=0.9)
    for step in range(100):
        answered(controller, step / 10, mbit=2.0)

    assert not controller.switches


def test_single_late_answers_move_it_seldom():
    """A processor that has other work now and then makes one answer in ten 50 ms late; the link is as it was."""
    near, local = Choice("input", 0.001, 5200.0, 0.004, 0.03), Choice("output", 0.03, 0.0, 0.0, 0.0)
    controller = Controller([near, local], tables.present(mbit=50.0, rtt_s=0.003), Goal(), Tuning())
    chance, probed_s = random.Random(1), 0.0
    for step in range(8 * 60):
        now_s, late_s = step / 8, chance.expovariate(500.0) + (0.05 if chance.random() < 0.1 else 0.0)
        if controller.pick(now_s) is near:
            bits = near.wire_bytes * 8
            controller.learn(now_s, Answer(near, now_s, bits, 0.001, 0.003 + bits / 50e6 + late_s, 0.0, 0.004))
        elif now_s - probed_s >= 0.5:
            controller.learn(now_s, Answer(None, now_s, 32e3, 0.0, 0.003 + 32e3 / 50e6 + late_s))
            probed_s = now_s

    assert len(controller.switches) <= 40


def test_a_dear_move_needs_frames_to_pay_for_it():
    def moves(load_s):
        listed = [replace(each, load_s=load_s) for each in tables.choices()]
        controller = Controller(listed, tables.present(mbit=20.0), Goal(), Tuning())
        for step in range(40):
            answered(controller, step / 10, mbit=1.0)
        return len(controller.switches)

    assert moves(0.0) > 0
    assert moves(60.0) == 0


def test_without_a_broker_everything_is_local():
    controller = made()
    assert controller.pick(0.0).id == "op020"
    controller.is_online = False
    assert controller.pick(0.1).id == "output"
    assert controller.switches[-1].reason == "offline"
    controller.is_online = True
    assert controller.pick(0.2).id == "op020"


def test_a_tail_that_is_not_ready_is_left_out_for_a_while():
    controller = made()
    controller.pick(0.0)
    controller.leave_out("op020", until_s=5.0)

    assert controller.pick(0.1).id != "op020"
    assert controller.switches[-1].reason == "tail not ready"
    assert controller.pick(5.1).id == "op020"


def test_where_nothing_is_left_the_cut_stays():
    choices = tables.choices()[:-1]
    controller = Controller(choices, tables.present(), Goal(), Tuning())
    before = controller.pick(0.0)
    controller.is_online = False

    assert controller.pick(0.1) is before


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal(Wish.BYTES), "output"),
        (Goal(Wish.BYTES, max_latency_s=0.112), "op020"),
        (Goal(Wish.ENERGY, power=Power(1.0, 4.0)), "input"),
        (Goal(Wish.ENERGY, max_latency_s=0.110, power=Power(1.0, 4.0)), "op020"),
        (Goal(Wish.PRICE, prices=Prices(per_gb=10.0)), "output"),
        (Goal(Wish.MEAN), "op020"),
        (Goal(Wish.P95), "op020"),  # the device's own answers would all be later than that
    ],
)
def test_every_objective_has_its_cut(goal, expected):
    assert made(goal, mbit=20.0).pick(0.0).id == expected


def test_a_hedge_is_due_after_its_share_of_the_way():
    controller = made(hedge=0.5)
    choice = controller.pick(0.0)
    way_s = controller.expected_s(choice) - choice.edge_s

    assert controller.hedge_after_s(choice) == pytest.approx(choice.edge_s + way_s / 2)
    assert made(hedge=None).hedge_after_s(choice) is None
