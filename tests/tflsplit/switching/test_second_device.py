"""In model time: a second device of a kind starts from what the first has measured, and believes itself more."""

import statistics

import pytest

from tests.tflsplit.switching import tables
from tflsplit.switching import simulation
from tflsplit.switching.controller import Controller, Tuning
from tflsplit.switching.estimates import Estimates, Memory
from tflsplit.switching.goal import Goal
from tflsplit.switching.policy import Answer
from tflsplit.switching.simulation import Setting, World

# What the plan expects, and what is: the rate in Mbit/s and how much slower the device is.
CELLS = [(5.0, 60.0, 1.0), (5.0, 0.6, 1.0), (50.0, 2.0, 1.0), (2.0, 20.0, 4.0), (0.5, 8.0, 2.0), (20.0, 1.5, 4.0)]


def over_oracle(planned_mbit, mbit, slow_edge, *, is_second):
    """Mean latency over the oracle's, of the first twenty frames and of the next hundred."""
    world = World(tables.link((600.0, mbit)), Setting(slow_edge=slow_edge, duration_s=60.0))
    made = Controller(tables.choices(), tables.present(mbit=planned_mbit), Goal(), Tuning())
    if is_second:
        first = Controller(tables.choices(), tables.present(mbit=planned_mbit), Goal(), Tuning())
        simulation.play(world, first)
        made.estimates.begin(0.0, first.estimates.known(60.0))
    ours = [frame.latency_s for frame in simulation.play(world, made).frames]
    best = [frame.latency_s for frame in simulation.oracle(world, tables.choices()).frames]
    cuts = (slice(0, 20), slice(20, 120))
    return [statistics.fmean(ours[cut]) / statistics.fmean(best[cut]) for cut in cuts]


@pytest.mark.parametrize("cell", CELLS)
def test_it_is_within_five_percent_of_the_oracle_after_twenty_frames(cell):
    first_twenty, after = over_oracle(*cell, is_second=True)

    assert first_twenty <= 1.05
    assert after <= 1.05


def test_the_first_pays_for_what_the_second_is_told():
    first = statistics.fmean(over_oracle(*cell, is_second=False)[0] for cell in CELLS)
    second = statistics.fmean(over_oracle(*cell, is_second=True)[0] for cell in CELLS)
    print(f"first twenty frames over the oracle's: {first:.3f} alone, {second:.3f} told by a sibling")

    assert second < 1 + (first - 1) / 5


def test_what_a_liar_tells_is_gone_with_the_first_measurements():
    usual, truth = tables.present(mbit=5.0), tables.present(mbit=5.0)
    choice = tables.choices()[1]
    link_s = truth.rtt_s + choice.wire_bytes * 8 * truth.s_per_bit
    for lie in (tables.present(mbit=1e-9, rtt_s=1e9), tables.present(mbit=1e9, rtt_s=0.0)):
        estimates = Estimates(usual, Memory(), tables.choices())
        estimates.begin(0.0, lie)
        assert usual.s_per_bit / 101 < estimates.known(0.0).s_per_bit < usual.s_per_bit * 101
        for step in range(4):
            answer = Answer(choice, step * 0.1, choice.wire_bytes * 8, choice.edge_s, link_s, 0.0, choice.cloud_s)
            estimates.learn(step * 0.1, answer)
        now = estimates.known(0.4)
        expected_s = now.rtt_s + choice.wire_bytes * 8 * now.s_per_bit

        assert expected_s == pytest.approx(link_s, rel=0.1)


def test_what_was_measured_here_is_not_overwritten():
    estimates = Estimates(tables.present(mbit=5.0), Memory(), tables.choices())
    choice = tables.choices()[1]
    bits = choice.wire_bytes * 8
    estimates.learn(1.0, Answer(choice, 1.0, bits, choice.edge_s, 0.04 + bits / 5e6, 0.0, choice.cloud_s))
    before = estimates.known(1.0)
    estimates.begin(0.5, tables.present(mbit=0.1, edge_slower=9.0, cloud_slower=9.0, cloud_wait_s=9.0))

    assert estimates.known(1.0) == before
