"""Chains out of profiles: the same costs as the plan of one cut, from the same timings."""

import dataclasses
import random

import invented
import pytest

from tflsplit.chains import chain as chains
from tflsplit.chains import comparison, machines, partitioner
from tflsplit.planning import cost, decision
from tflsplit.planning.candidates import InputForms, gather
from tflsplit.planning.decision import Objective
from tflsplit.planning.scenario import Scenario
from tflsplit.timings import presets
from tflsplit.timings.links import Link, Point
from tflsplit.timings.profiles import CutTiming, Origin, Timing

CUTS = invented.cuts((40_000, 9_000, 60_000, 2_000, 500))
LOSSY = Link("lossy", Origin.STATED, 5e6, 0.04, loss=0.02)
PROBED = Link(
    "probed",
    Origin.MEASURED,
    20e6,
    0.021,
    points=tuple(
        Point(size, Timing(tuple(0.021 + size * 4.1e-7 + noise for noise in (0.0, 0.001, 0.004))), 18e6)
        for size in (100, 1_000, 10_000, 100_000)
    ),
)


def noisy(profile, seed):
    """Timings that differ from run to run, so that a median is not a mean and a longer head may look faster."""
    draw = random.Random(seed)

    def shaken(timing, floor_s):
        return Timing(tuple(sample * draw.uniform(0.7, 1.5) + floor_s for sample in timing.samples_s))

    cuts = tuple(
        CutTiming(entry.cut, shaken(entry.run, 0.0), shaken(entry.run, 0.0002), None, 0.0, 0) for entry in profile.cuts
    )
    return dataclasses.replace(profile, cuts=cuts)


EDGE = noisy(invented.edge(CUTS, (0.0, 5.0, 5.2, 9.0, 12.0), preprocess=1.5), 1)
CLOUD = noisy(invented.cloud(CUTS, (2.0, 1.5, 1.4, 0.5, 0.1)), 2)


def as_chain(link, edge=EDGE, cloud=CLOUD):
    return machines.chain_of(CUTS, {"pi": edge, "server": cloud}, [link], {})


@pytest.mark.parametrize("link", [presets.named("4g"), presets.named("ethernet"), LOSSY, PROBED])
def test_a_chain_of_two_machines_costs_what_the_plan_of_one_cut_does(link):
    chain = as_chain(link)
    last = len(CUTS) - 1
    for candidate in gather(CUTS, EDGE, CLOUD, InputForms(raw=False, jpeg=False)):
        place = candidate.cut.position
        shares = [(0, 0, place), (1, place, last)]
        planned = cost.of(candidate, Scenario(link))

        assert chains.partition(chain, shares).latency_s == pytest.approx(planned.latency.p50_s, rel=1e-12)


@pytest.mark.parametrize("link", [presets.named("nb-iot"), presets.named("wifi"), LOSSY, PROBED])
def test_a_chain_of_two_machines_is_cut_where_the_plan_of_one_cut_is(link):
    forms = InputForms(raw=False, jpeg=False)
    choice = decision.decide(gather(CUTS, EDGE, CLOUD, forms), Scenario(link), decision.Goal()).choice.cost
    pick = comparison.make(as_chain(link), Objective.LATENCY).pick

    assert pick.pieces[-1].start == choice.candidate.cut.position
    assert pick.latency_s == pytest.approx(choice.latency.p50_s, rel=1e-12)


def test_a_slowest_stage_is_the_sustainable_rate_of_the_plan():
    edge = invented.edge(CUTS, (0.0, 5.0, 6.0, 9.0, 12.0), preprocess=1.5)
    cloud = invented.cloud(CUTS, (2.0, 1.5, 1.4, 0.5, 0.0))
    link = presets.named("wifi")
    found = partitioner.smoothest(as_chain(link, edge, cloud))
    costs = [cost.of(one, Scenario(link)) for one in gather(CUTS, edge, cloud, InputForms(raw=False, jpeg=False))]

    # The window is no stage of a chain.
    best_fps = max(min(rate for name, rate in one.stages_fps.items() if name != "window") for one in costs)
    assert 1 / found.slowest_s == pytest.approx(best_fps, rel=1e-12)


def test_a_stage_that_cannot_hold_the_weights_leaves_some_to_the_next():
    cuts = invented.cuts((4_000, 3_000, 2_000, 900, 50), weights=(10, 20, 30, 40))
    profiles = {"pi": invented.edge(cuts, (0, 1, 2, 3, 4)), "server": invented.cloud(cuts, (4, 3, 2, 1, 0))}
    chain = machines.chain_of(cuts, profiles, [presets.named("nb-iot")], {})
    bound = comparison.make(comparison.bound_memory(chain, "pi", 99.0), Objective.LATENCY)

    assert comparison.make(chain, Objective.LATENCY).pick.shares[0].stop == 4
    assert bound.pick.cuts == (3,)
    assert comparison.constraints(bound)["memory_bytes"] == {"pi": 99.0}
