"""The quick pick against costing everything, whatever is wished of whatever candidates."""

import dataclasses

import invented
from hypothesis import given
from hypothesis import strategies as st

from tflsplit.kernels.heads import Standing
from tflsplit.planning import candidates, decision
from tflsplit.planning.constraints import Constraints
from tflsplit.planning.decision import Goal, Objective
from tflsplit.planning.scenario import Power, Prices, Scenario, Workload
from tflsplit.planning.shortlist import Shortlist
from tflsplit.timings.links import Link, Point
from tflsplit.timings.profiles import Origin, Timing

MILLISECONDS = st.floats(0.0, 50.0).map(lambda value: round(value, 2))
POINTS = tuple(Point(size, Timing((0.002 + size / 1e6,)), 5e6) for size in (100, 2_000, 50_000))


@st.composite
def planned(draw):
    sizes = draw(st.lists(st.integers(10, 100_000), min_size=3, max_size=10))
    cuts = invented.cuts(sizes)
    times = st.lists(MILLISECONDS, min_size=len(cuts), max_size=len(cuts))
    edge, cloud = invented.edge(cuts, draw(times), preprocess=0.5), invented.cloud(cuts, draw(times))
    megabits, rtt_s = draw(st.sampled_from([0.1, 1, 10, 100, 1000])), draw(st.sampled_from([0.0, 0.01, 0.2]))
    link = draw(
        st.sampled_from(
            [
                Link("stated", Origin.STATED, megabits * 1e6, rtt_s),
                Link("lossy", Origin.STATED, megabits * 1e6, rtt_s, loss=0.02),
                Link("probed", Origin.MEASURED, megabits * 1e6, rtt_s, points=POINTS),
            ]
        )
    )
    work = Workload(
        rate_fps=draw(st.sampled_from([None, 1.0, 20.0, 60.0])),
        devices=draw(st.integers(1, 3)),
        reload_every=draw(st.sampled_from([None, 5])),
    )
    constraints = Constraints(
        max_latency_s=draw(st.sampled_from([None, 0.05])),
        min_position=draw(st.sampled_from([None, 2])),
        exact=draw(st.sampled_from([None, True])),
    )
    goal = Goal(draw(st.sampled_from(list(Objective))), constraints, prefers_exact=draw(st.booleans()))
    scenario = Scenario(link, work, Prices(1.0, 2.0), Power(1.0, 4.0))
    judged = {cut.id: (draw(st.sampled_from(Standing)), "") for cut in cuts}
    batch = 1 if work.rate_fps is None else draw(st.sampled_from([1, 4]))
    edge, cloud = (dataclasses.replace(each, batch=batch) for each in (edge, cloud))
    return candidates.gather(cuts, edge, cloud, judged=judged), scenario, goal


@given(planned())
def test_the_pick_is_that_of_costing_everything(drawn):
    found, scenario, goal = drawn
    choice = decision.decide(found, scenario, goal).choice

    # Weights are relative to all that is feasible, for both alike.
    assert Shortlist(found).pick(scenario, goal) == (choice.cost if choice else None)


def test_a_candidate_without_timings_is_never_picked():
    cuts = invented.cuts((100, 100, 100))
    edge, cloud = invented.edge(cuts, (0, 1, 9)), invented.cloud(cuts, (9, 0.1, 0))
    found = candidates.gather(cuts, dataclasses.replace(edge, cuts=edge.cuts[::2]), cloud)

    assert Shortlist(found).pick(Scenario(Link("x", Origin.STATED, 1e9, 0.0)), Goal()).candidate.id != "op000"
