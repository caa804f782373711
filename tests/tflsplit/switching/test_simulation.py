"""Model time gives what can be worked out by hand, and shows the trap that probes are for."""

import itertools
from dataclasses import replace

import pytest

from tests.tflsplit.switching import tables
from tflsplit.switching import rivals, simulation
from tflsplit.switching.choices import Choice
from tflsplit.switching.controller import Controller, Tuning
from tflsplit.switching.goal import Goal
from tflsplit.switching.policy import Probing
from tflsplit.switching.simulation import Setting, World
from tflsplit.switching.traces import Conditions


def latencies(run):
    return [frame.latency_s for frame in run.frames]


def test_a_static_cut_over_a_steady_link_takes_what_its_parts_add_up_to():
    world = World(tables.link((10, 8.0)), Setting(slow_edge=2.0))
    second = tables.choices()[1]
    run = simulation.play(world, rivals.Static(second))

    assert latencies(run) == pytest.approx([0.042 + 0.032 + 0.04 + 0.025] * 50)
    assert [frame.taken_s for frame in run.frames[:3]] == pytest.approx([0.0, 0.2, 0.4])


def test_a_loaded_server_takes_longer_for_its_own_part():
    world = World(tables.link((10, 8.0, Conditions(load=0.5))), Setting())
    run = simulation.play(world, rivals.Static(tables.choices()[1]))

    assert latencies(run)[0] == pytest.approx(0.021 + 0.032 + 0.04 + 0.05)


def test_the_oracle_is_never_slower_than_any_cut_on_the_same_frame():
    world = World(tables.link((3, 8.0), (3, 0.5), (3, 40.0)), Setting())
    best = simulation.oracle(world, tables.choices())
    for frame in best.frames:
        for choice in tables.choices():
            assert frame.latency_s <= world.latency_s(choice, frame.taken_s, 0.0) + 1e-12


def test_loss_costs_the_same_frames_of_every_policy():
    world = World(tables.link((20, 8.0, Conditions(loss=0.05))), Setting(seed=3))
    first, again = (latencies(simulation.play(world, rivals.Static(tables.choices()[2]))) for _ in range(2))

    assert first == again
    assert max(first) > min(first) + 0.03


def ours(**tuning):
    return Controller(tables.choices(), tables.present(mbit=20.0), Goal(), Tuning(**tuning))


def dead_for_a_minute():
    return World(tables.link((10, 20.0), (60, 0.0), (30, 20.0)), Setting(fps=10))


def test_without_probes_a_device_stays_local_when_the_link_is_back():
    def local_after(policy):
        back = [frame for frame in simulation.play(dead_for_a_minute(), policy).frames if 75 < frame.taken_s < 90]
        return sum(frame.choice.is_local for frame in back) / len(back)

    from tflsplit.switching.estimates import Memory

    assert local_after(ours(hedge=0.5, probing=None, memory=Memory(half_life_s=1e9))) == 1.0
    assert local_after(ours(hedge=0.5, probing=Probing())) == 0.0


def test_a_dead_link_is_bridged_within_a_second_and_the_better_cut_is_back_within_two():
    run = simulation.play(dead_for_a_minute(), ours(hedge=0.5, probing=Probing()))
    dead = [frame for frame in run.frames if 10 <= frame.taken_s < 70]
    back = next(frame.taken_s for frame in run.frames if frame.taken_s >= 70 and not frame.choice.is_local)

    assert max(frame.latency_s for frame in dead) < 1.0
    assert back < 72.0
    assert all(frame.latency_s < 0.3 for frame in run.frames if frame.taken_s >= 70)


def test_probes_cost_bytes_and_are_counted():
    assert simulation.play(dead_for_a_minute(), ours(probing=Probing())).probe_bytes > 0
    assert simulation.play(dead_for_a_minute(), ours(probing=None)).probe_bytes == 0


def test_a_hedged_frame_takes_no_longer_than_its_device_needs():
    run = simulation.play(dead_for_a_minute(), ours(hedge=0.0))
    late = [frame for frame in run.frames if frame.is_hedged]

    assert late
    assert all(frame.latency_s <= tables.WHOLE_S + 1e-9 for frame in late)


@pytest.mark.parametrize("make", [rivals.Sciot, rivals.Percentile, rivals.LinUcb])
def test_what_others_published_plays_any_trace(make):
    world = World(tables.link((15, 20.0), (15, 0.3), (5, 8.0)), Setting())
    run = simulation.play(world, make(tables.choices(), tables.present(mbit=20.0)))

    assert run.frames[-1].taken_s < 35
    assert len({frame.choice.id for frame in run.frames}) > 1


class Alternating(rivals.Static):
    """Takes the choices in turn."""

    def __init__(self, *choices):
        super().__init__(choices[0])
        self._turns = itertools.cycle(choices)

    def pick(self, now_s):
        return next(self._turns)


def test_a_frame_waits_for_a_head_that_its_device_has_to_load_and_for_no_other():
    inputs, near, *_, whole = tables.choices()
    near, whole = replace(near, load_s=0.5), replace(whole, load_s=0.25)
    world = World(tables.link((60, 20.0)), Setting(fps=0.5, duration_s=12.0, slow_edge=2.0))
    alone = {each.id: simulation.play(world, rivals.Static(each)).frames[0].latency_s for each in (inputs, near, whole)}
    run = simulation.play(world, Alternating(near, inputs, near, whole))

    waited = [frame.latency_s - alone[frame.choice.id] for frame in run.frames]
    assert waited == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0, 0.0])


def test_frames_too_small_to_tell_the_rate_do_not_keep_probes_from_telling_it():
    """A late cut's frames go out all the time, and would hide that the link is good again for the early one."""
    choices = [Choice("input", 0.02, 13_000, 0.02, 0.4), Choice("late", 0.27, 600, 0.001, 0.13)]
    choices.append(Choice("output", 0.4, 0.0, 0.0, 0.0))
    world = World(tables.link((10, 5.0), (20, 0.1), (30, 5.0)), Setting())
    run = simulation.play(world, Controller(choices, tables.present(mbit=0.3), Goal(), Tuning()))
    slow = [frame.choice.id for frame in run.frames if 15 < frame.taken_s < 30]
    good = [frame.choice.id for frame in run.frames if 35 < frame.taken_s < 60]

    assert "input" not in slow
    assert good.count("input") > 0.9 * len(good)
