"""A device whose cut moves gets another model while it moves, and goes on moving among the cuts of that."""

import contextlib

import pytest
from memory_cloud import cloud_for
from updatable import wide_package

from broker.messages.updates import State
from edge_runtime.adapting import adaptation, candidates
from edge_runtime.adapting.lineups import Lineup, Lineups
from edge_runtime.answering.on_device import OnDevice
from tflsplit import errors
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Controller, Switch, Tuning
from tflsplit.switching.goal import Goal

CUTS = ("input", "op000", "op001")


def choices():
    """As if each operator took 20 ms here and 5 ms in the cloud."""
    sent = [Choice(name, 0.02 * at, 9_000, 0.015, 0.06 - 0.02 * at) for at, name in enumerate(CUTS)]
    return [*sent, Choice("output", 0.06, 0.0, 0.0, 0.0)]


class Restless(Controller):
    """A stand-in that takes another usable cut for each frame."""

    turn = 0

    def pick(self, now_s):
        usable = self.usable(now_s)
        before, self.turn = self._now, self.turn + 1
        self._now = usable[self.turn % len(usable)]
        if self._now is not before:
            self.switches.append(Switch(now_s, before.id, self._now.id, "test"))
        return self._now


class Moving:
    """What makes a device of `updatable` move its cut."""

    def __init__(self, *, hedge=None, among=None):
        self._hedge = hedge
        self._choices = among or choices()
        self.lineups = Lineups(self._opened)
        self.open = []

    @contextlib.contextmanager
    def _opened(self, package):
        with candidates.opened(package, self._choices) as found:
            self.open.append(package.digest)
            here = OnDevice(package, found[0].chain, hedges=True) if self._hedge is not None else None
            try:
                yield Lineup(package, tuple(found), here)
            finally:
                self.open.remove(package.digest)

    def adaptation(self, head):
        lineup = self.lineups.of(head)
        tuning = Tuning(hedge=self._hedge, probing=None)
        controller = Restless(self._choices, Present(1 / 50e6, 0.002), Goal(), tuning, start=head.cut.id)
        more = {"lineups": self.lineups, "on_device": lineup.on_device}
        return adaptation.Adaptation(lineup.candidates, controller, head.cut.id, **more)


def cuts_of(settles, package):
    return {settled.cut for settled in settles.all if settled.package == package.digest[:32]}


@pytest.mark.parametrize("hedge", [None, 0.0])
def test_a_moving_device_takes_a_model_and_moves_among_its_cuts(served, hedge):
    moving = Moving(hedge=hedge)
    device = served.start(moving=moving)
    device.settles.wait_for(lambda all_: len({each.cut for each in all_}) == 4)
    outcome = served.push(served.new)
    device.settles.wait_for(lambda _: cuts_of(device.settles, served.new) == {*CUTS, "output"})
    summary = device.stop()

    assert (outcome.state, outcome.reason) == (State.INSTALLED, None)
    assert (summary.unanswered, summary.refused, dict(summary.dropped)) == (0, 0, {})
    assert sorted(each.sequence for each in device.settles.all) == list(range(summary.frames))
    assert moving.open == []


def test_the_model_before_is_closed_once_the_new_one_is_kept(served):
    moving = Moving()
    served.start(moving=moving)
    served.push(served.new)

    assert moving.open == [served.new.digest]


def test_a_restart_begins_with_the_model_that_was_pushed_at_all_cuts(served):
    first = served.start(moving=Moving())
    served.push(served.new)
    first.stop()
    again = served.start(moving=Moving(), boot=8)
    again.settles.wait_for(lambda _: cuts_of(again.settles, served.new) == {*CUTS, "output"})


def test_a_model_that_no_cloud_serves_is_rolled_back_and_the_old_one_moves_on(field):
    moving = Moving()
    with cloud_for(field.old, field.network):
        device = field.start(moving=moving)
        outcome = field.push(field.new)
        seen = len(device.settles.all)
        device.settles.wait_for(lambda all_: {each.cut for each in all_[seen:]} == {*CUTS, "output"})

    assert outcome.state is State.ROLLED_BACK
    assert moving.open == [field.old.digest]


def test_a_model_that_lacks_a_candidate_is_not_sent(served, tmp_path):
    device = served.start(moving=Moving())
    device.settles.wait_for(lambda all_: len(all_) >= 4)

    with pytest.raises(
        errors.CutError, match=r"moves its cut among input, op000, op001, output, and this model has no"
    ):
        served.push(wide_package(tmp_path / "wide.tflsplit", 1), cut="op000")


def test_a_model_of_other_boundaries_is_none_that_the_plan_is_for(tiny_package, tmp_path):
    moving = Moving(among=[choices()[0], choices()[1]])
    moving.lineups.open(tiny_package, tiny_package.cut("op000"))
    wide = wide_package(tmp_path / "wide.tflsplit", 1)

    with pytest.raises(errors.SettingsError, match="its boundaries have other sizes than the plan says"):
        moving.lineups.open(wide, wide.cut("op000"))
    assert moving.open == [tiny_package.digest]
    moving.lineups.close_all()


def test_a_head_of_another_cut_is_none_of_the_candidates(tiny_package):
    lineups = Moving(among=choices()[:2]).lineups
    with pytest.raises(errors.SettingsError, match=r"cut op001 is none of the plan's candidates \(input, op000\)"):
        lineups.open(tiny_package, tiny_package.cut("op001"))
