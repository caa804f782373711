"""Costs and picks on invented timings, with exact answers."""

import dataclasses
import math
from dataclasses import replace

import invented
import pytest

from tflsplit import errors
from tflsplit.planning import bottlenecks, breakeven, candidates, constraints, cost, network, report_text
from tflsplit.planning import decision as planning_decision
from tflsplit.planning.constraints import Constraints
from tflsplit.planning.decision import Goal, Objective, Weights
from tflsplit.planning.scenario import Power, Prices, Scenario, Workload
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin

# Payloads of five cuts; the third is the bottleneck.
SIZES = (30_000, 60_000, 5_000, 20_000, 10)
CUTS = invented.cuts(SIZES)
EDGE = invented.edge(CUTS, (0, 10, 20, 60, 100))
CLOUD = invented.cloud(CUTS, (20, 18, 16, 8, 0))
CANDIDATES = candidates.gather(CUTS, EDGE, CLOUD)


def over(megabits, rtt_ms=0.0, **others):
    workload = Workload(**others.pop("workload", {}))
    return Scenario(Link("test", Origin.STATED, megabits * 1e6, rtt_ms / 1e3), workload, **others)


def decide(scenario, edge=EDGE, cloud=CLOUD, **goal):
    return planning_decision.decide(candidates.gather(CUTS, edge, cloud), scenario, Goal(**goal))


def ids(entries):
    return [entry.id for entry in entries]


def test_latency_is_the_sum_of_its_parts():
    found = cost.of(CANDIDATES[2], over(8, rtt_ms=10))
    frame_bytes = network.frame_bytes(CUTS[2].boundary, 5_000)
    hops_s = 0.010 + 2 * network.BROKER_HOP_S

    assert found.latency.p50_s == pytest.approx(0.020 + network.wire_bytes(frame_bytes) / 1e6 + 0.016 + hops_s)
    assert math.fsum(part.p50_s for part in found.parts.values()) == pytest.approx(found.latency.p50_s)
    assert tuple(found.parts) == cost.PARTS


@pytest.mark.parametrize(
    ("megabits", "expected"),
    [(0.2, "output"), (4, "op001"), (1000, "input")],
)
def test_a_slow_link_computes_locally_a_fast_one_remotely_and_one_between_splits(megabits, expected):
    decision = decide(over(megabits))

    assert decision.choice.id == expected
    assert decision.is_split == (expected == "op001")


def test_the_pareto_set_and_what_dominates_the_rest():
    decision = decide(over(4))
    dominated = {entry.id: entry.dominated_by for entry in decision.judged if entry.dominated_by}

    # op001 is fastest; output sends least. input is slower than op001, sends more, and its link is the slowest stage.
    assert decision.pareto == ("op001", "output")
    assert dominated == {"input": "op001", "op000": "op001", "op002": "op001"}


def test_the_slowest_stage_is_the_sustainable_rate():
    found = {entry.id: entry.cost for entry in decide(over(8)).judged}

    assert (found["output"].slowest_stage, found["output"].throughput_fps) == ("edge", pytest.approx(10.0))
    assert found["op000"].slowest_stage == "link"
    assert found["op001"].throughput_fps == pytest.approx(50.0)


def test_a_window_bounds_the_rate_of_a_link_far_away():
    scenario = over(1000, rtt_ms=1000, workload={"window": 4})
    found = {entry.id: entry.cost for entry in decide(scenario).judged}["input"]

    assert found.slowest_stage == "window"
    assert found.throughput_fps == pytest.approx(4 / found.latency.mean_s)


def test_throughput_bytes_price_and_energy_each_have_their_own_pick():
    scenario = over(8, prices=Prices(per_gb=1.0, per_cloud_hour=1.0), power=Power(1.0, 3.0))

    assert decide(scenario, objective=Objective.THROUGHPUT).choice.id == "op001"
    assert decide(scenario, objective=Objective.BYTES).choice.id == "output"
    assert decide(scenario, objective=Objective.ENERGY).choice.id == "input"
    assert decide(scenario, objective=Objective.PRICE).choice.id == "output"


def test_a_split_that_saves_hardly_any_price_or_energy_is_not_picked():
    scenario = over(1000, prices=Prices(per_cloud_hour=1.0), power=Power(1.0, 3.0))

    priced = decide(scenario, cloud=invented.cloud(CUTS, (20, 19.9, 25, 25, 25)), objective=Objective.PRICE)
    powered = decide(scenario, edge=invented.edge(CUTS, (200, 200, 200, 96, 100)), objective=Objective.ENERGY)

    assert (priced.choice.id, priced.runner_up.id) == ("input", "op000")
    assert (powered.choice.id, powered.runner_up.id) == ("output", "op002")
    for decision in (priced, powered):
        why = report_text.why_not(decision.runner_up, decision)
        assert why.endswith("less than the 1% that a split has to gain")


def test_a_bound_on_bytes_is_written_in_whole_bytes():
    decision = decide(over(4, workload={"rate_fps": 10.0}), constraints=Constraints(max_bytes_per_day=1024))

    for each in decision.judged:
        said = [failure.words for failure in each.failures]
        assert f"{each.cost.bytes_per_day:,.0f} bytes a day, at most 1,024 asked" in said


def test_prices_and_energy_of_a_day_and_a_frame():
    scenario = over(8, prices=Prices(2.0, 10.0), power=Power(1.0, 3.0), workload={"rate_fps": 5.0})
    found = cost.of(CANDIDATES[2], scenario)

    assert found.bytes_per_day == pytest.approx(found.bytes_per_frame * 5 * 86_400)
    assert found.price_per_day == pytest.approx(found.bytes_per_day / 1e9 * 2.0 + 5 * 0.016 * 24 * 10.0)
    # 20 ms of each 200 ms at work.
    assert found.energy_j == pytest.approx(0.020 * 3.0 + 0.180 * 1.0)
    assert (found.edge_load, found.cloud_load) == pytest.approx((0.1, 0.08))


def test_several_devices_on_one_cloud_queue_there():
    one = {entry.id: entry.cost for entry in decide(over(1000, workload={"rate_fps": 20.0})).judged}["input"]
    decision = decide(over(1000, workload={"rate_fps": 20.0, "devices": 2}))
    two = {entry.id: entry.cost for entry in decision.judged}["input"]
    assert one.parts["queue"].mean_s == 0.0
    # Pollaczek and Khinchine for a fixed 20 ms at load 0.8.
    assert two.parts["queue"].mean_s == pytest.approx(0.8 / 0.2 / 2 * 0.020)
    assert two.throughput_fps == pytest.approx(25.0)


def test_a_rate_that_a_stage_cannot_keep_up_with_is_refused_in_words():
    decision = decide(over(1000, workload={"rate_fps": 30.0, "devices": 2}), constraints=Constraints(fps=30.0))
    why = {entry.id: report_text.why_not(entry, decision) for entry in decision.judged}

    assert "cloud can do 25 frames/s, 30 asked" in why["input"]
    assert "edge can do 10 frames/s" in why["output"]


def test_reloading_the_head_is_paid_by_its_share_of_frames():
    always = cost.of(CANDIDATES[2], over(8, workload={"reload_every": 1}))
    rarely = cost.of(CANDIDATES[2], over(8, workload={"reload_every": 10}))

    assert always.parts["reload"].p50_s == 0.5
    assert (rarely.parts["reload"].p50_s, rarely.parts["reload"].p95_s) == (0.0, 0.5)
    assert rarely.stages_fps["edge"] == pytest.approx(1 / 0.070)


def test_streams_share_what_the_edge_can_do_and_one_that_computes_nothing_is_not_spoken_of():
    of_the_head = cost.of(CANDIDATES[2], over(8))
    rate = of_the_head.stages_fps["edge"]

    assert report_text.streams_fps(of_the_head) == {1: rate, 2: rate / 2, 4: rate / 4, 8: rate / 8}
    # What an edge does besides comes to each frame, a change of model to those of several streams.
    counted = replace(of_the_head.candidate, besides_s=0.002, switch_s=0.001)
    slower = cost.of(counted, over(8))
    frame_s = 1 / rate + 0.002
    expected = {1: 1 / frame_s} | {count: 1 / (frame_s + 0.001) / count for count in (2, 4, 8)}
    assert report_text.streams_fps(slower) == pytest.approx(expected)
    assert "2 ms of bookkeeping a frame and 1 ms a change of model are counted" in report_text.streams(slower)
    assert f"1 stream at {rate:.3g} frames/s, 2 streams at {rate / 2:.3g}, " in report_text.streams(of_the_head)
    assert report_text.streams(replace(of_the_head, stages_fps={"edge": math.inf})) == ""


def test_constraints_narrow_the_pick_and_each_says_why():
    decision = decide(over(4), constraints=Constraints(max_edge_memory_bytes=2500, max_latency_s=0.070))
    why = {entry.id: report_text.why_not(entry, decision) for entry in decision.judged}

    assert decision.choice is None
    assert why["op001"] == "3,000 bytes of edge memory, at most 2,500 asked"
    assert why["input"].startswith("p95 latency 82.")
    assert decision.nearest.id == "input"
    assert report_text.reason(decision).startswith("nothing meets the constraints; nearest is input: p95 latency")


def test_depth_keeps_layers_on_the_device():
    decision = decide(over(1000), constraints=Constraints(min_position=2))

    assert decision.choice.id == "op001"
    assert [entry.id for entry in decision.judged if not entry.is_feasible] == ["input", "op000"]


def test_weights_move_the_weighted_pick():
    fast = decide(over(1000), objective=Objective.WEIGHTED, weights=Weights(0, 0, 1))
    thrifty = decide(over(1000), objective=Objective.WEIGHTED, weights=Weights(0, 1, 0))

    assert (fast.choice.id, thrifty.choice.id) == ("input", "output")


def test_weights_of_nothing_are_refused():
    with pytest.raises(errors.SettingsError, match="not all 0"):
        Weights(0, 0, 0)


@pytest.mark.parametrize(
    ("goal", "asked"),
    [
        (Goal(Objective.ENERGY), "--idle-watts"),
        (Goal(Objective.PRICE), "--price-per-gb"),
        (Goal(constraints=Constraints(max_energy_j=1.0)), "--idle-watts"),
    ],
)
def test_an_objective_without_its_figures_is_refused(goal, asked):
    with pytest.raises(errors.SettingsError, match=asked):
        planning_decision.decide(CANDIDATES, over(1), goal)


def test_the_break_even_bandwidth_is_where_two_ways_cost_the_same():
    found = breakeven.find(CANDIDATES, over(1000), Goal())["bandwidth_bps"]
    at = planning_decision.decide(CANDIDATES, over(found.value / 1e6), Goal())
    latencies = {entry.id: entry.cost.latency.p50_s for entry in at.judged}

    assert (found.choice, found.is_split) == ("op001", True)
    # As far apart as makes a split worth it, to what the search resolves.
    assert latencies["input"] == pytest.approx(latencies["op001"] * (1 + planning_decision.WORTH_A_SPLIT), rel=0.002)


def test_the_break_even_rate_is_one_that_the_window_keeps_up_with():
    scenario = over(4, rtt_ms=500, workload={"rate_fps": 14.0})
    found = breakeven.find(CANDIDATES, scenario, Goal(constraints=Constraints(fps=14.0)))["rate_fps"]
    can = max(cost.of(candidate, scenario).throughput_fps for candidate in CANDIDATES)

    assert (found.value, found.choice) == (pytest.approx(can, rel=0.002), None)


def test_a_break_even_says_where_nothing_would_meet_the_constraints():
    """Today the answer is not to split; so it is beyond, where there is none."""
    scenario = over(1000, workload={"rate_fps": 5.0})
    found = breakeven.find(CANDIDATES[:1] + CANDIDATES[-1:], scenario, Goal(constraints=Constraints(fps=5.0)))

    assert not decide(scenario, constraints=Constraints(fps=5.0)).is_split
    assert (found["rate_fps"].choice, found["rate_fps"].is_split) == (None, False)
    assert any("nothing would keep up" in line for line in report_text.turns(found))


def test_a_break_even_says_where_something_would_meet_the_constraints_again():
    scenario, goal = over(4, workload={"rate_fps": 1e4}), Goal(constraints=Constraints(fps=1e4))
    found = breakeven.find(CANDIDATES, scenario, goal)["rate_fps"]

    assert planning_decision.decide(CANDIDATES, scenario, goal).choice is None
    assert found.choice is not None
    assert found.value < 1e4


def test_the_break_even_price_turns_the_cheapest_way():
    dear_cloud = over(1000, prices=Prices(per_gb=1e-9, per_cloud_hour=0.001))
    slow_edge = Constraints(max_edge_memory_bytes=4000)
    goal = Goal(Objective.PRICE, slow_edge)

    assert decide(dear_cloud, objective=Objective.PRICE, constraints=slow_edge).choice.id == "op002"
    assert breakeven.find(CANDIDATES, dear_cloud, goal)["price_per_gb"] is None


def test_raw_int8_and_jpeg_compete_where_the_input_is_a_picture():
    picture = dataclasses.replace(CUTS[0].boundary[0], shape=(1, 100, 100, 3))
    pictured = (dataclasses.replace(CUTS[0], boundary=(picture,)), *CUTS[1:])
    forms = candidates.InputForms(pictures=(candidates.Picture(80, 4000.0, Origin.MEASURED),))
    edge = invented.edge(pictured, (0, 10, 20, 60, 100), preprocess=2.0)
    found = candidates.gather(pictured, edge, CLOUD, forms)

    assert ids(found)[:3] == ["input:jpeg:80", "input:raw", "input"]
    assert [entry.payload_bytes for entry in found[:3]] == [4000.0, 30_000.0, 30_000]
    # The edge that sends pixels preprocesses nothing; the cloud does.
    assert [entry.preprocess.p50_s for entry in found[:3]] == [0.0, 0.0, 0.002]
    assert found[1].decode == dataclasses.replace(found[2].preprocess, origin=Origin.ESTIMATED)


def test_a_map_of_sound_is_sent_as_no_picture():
    """Ten coefficients at 49 moments have one channel too; JPEG would make of them what it makes of a photograph."""
    sound = dataclasses.replace(CUTS[0].boundary[0], shape=(1, 49, 10, 1))
    heard = (dataclasses.replace(CUTS[0], boundary=(sound,)), *CUTS[1:])
    edge = invented.edge(heard, (0, 10, 20, 60, 100), preprocess=2.0)

    assert [name for name in ids(candidates.gather(heard, edge, CLOUD)) if name.startswith("input")] == ["input"]


def test_a_cut_that_no_profile_times_is_shown_and_never_picked():
    short = dataclasses.replace(EDGE, cuts=EDGE.cuts[:2])
    decision = decide(over(4), edge=short)
    (missing,) = [entry for entry in decision.judged if entry.id == "op001"]

    assert report_text.why_not(missing, decision) == "the edge's profile has no timing of its head"
    assert decision.choice.id in ("input", "op000")


def test_every_figure_has_an_origin():
    decision = decide(over(4, workload={"rate_fps": 2.0, "devices": 2}))
    shown = report_text.candidate(decision.choice, decision)

    assert set(shown["parts_ms"]) <= set(shown["origins"])
    assert shown["origins"]["head"] == "measured"
    assert shown["origins"]["wire"] == "stated"
    assert shown["origins"]["queue"] == "estimated"


def test_the_filter_of_natural_bottlenecks_says_what_it_missed():
    found = bottlenecks.compare(decide(over(4)))

    assert found.kept == ("input", "op001", "output")
    assert (found.by_elements, found.best_kept, found.missed_s) == (("op001",), "op001", 0.0)
    assert "the pick is one of them" in bottlenecks.summary(found, 3)


def test_the_filter_misses_a_cut_that_is_later_and_larger():
    lopsided = invented.cloud(CUTS, (200, 180, 160, 8, 0))
    found = bottlenecks.compare(decide(over(40), cloud=lopsided))

    assert found.best_kept == "output"
    assert found.missed_s == pytest.approx(0.100 - 0.068, abs=0.006)
    assert bottlenecks.summary(found, 3).endswith("ms slower than the pick")
    nothing_feasible = dataclasses.replace(found, missed_s=None)
    assert bottlenecks.summary(nothing_feasible, 3).endswith("none of them meets the constraints")


def test_the_nearest_miss_is_the_one_least_beyond_its_bound():
    costs = [cost.of(entry, over(4)) for entry in CANDIDATES]
    nearest, failed = constraints.nearest_miss(costs, Constraints(max_latency_s=0.040))

    assert nearest.candidate.id == "op001"
    assert [failure.constraint for failure in failed] == ["max_latency"]


def test_a_split_that_is_hardly_faster_than_not_splitting_is_not_made():
    slower = invented.edge(CUTS, (0, 10, 20, 60, 60.5))
    hardly = invented.cloud(CUTS, (200, 180, 160, 0.0, 0))
    same_size = invented.cuts((30_000, 60_000, 5_000, 10, 10))
    found = candidates.gather(same_size, slower, hardly)
    decision = planning_decision.decide(found, over(8), Goal())

    assert [entry.cost.latency.p50_s < decision.choice.cost.latency.p50_s for entry in decision.judged][3]
    assert (decision.choice.id, decision.runner_up.id) == ("output", "op002")


def test_more_than_a_stage_can_take_is_said_once_whether_or_not_the_rate_is_a_constraint():
    scenario = over(1000, workload={"rate_fps": 30.0, "devices": 2})
    asked = decide(scenario, constraints=Constraints(fps=30.0)).judged[0]
    unasked = decide(scenario).judged[0]

    assert [failure.constraint for failure in asked.failures] == ["fps"]
    assert [failure.constraint for failure in unasked.failures] == ["rate"]


def in_batches(batch):
    """The same candidates, whose frames hold so many inputs: every timing is of the whole frame."""
    return candidates.gather(CUTS, dataclasses.replace(EDGE, batch=batch), dataclasses.replace(CLOUD, batch=batch))


def test_an_input_of_a_batch_waits_for_the_last_one_of_its_frame():
    found = cost.of(in_batches(4)[2], over(1000, workload={"rate_fps": 10.0}))

    # Four inputs 100 ms apart wait 300, 200, 100 and 0 ms.
    fill = found.parts["fill"]
    assert (fill.p50_s, fill.mean_s) == pytest.approx((0.150, 0.150))
    assert fill.variance_s2 == pytest.approx(0.0125)
    assert found.latency.p50_s == pytest.approx(sum(part.p50_s for part in found.parts.values()))
    assert found.latency.p50_s > 0.150 + 0.020 + 0.016


def test_rates_of_a_batch_are_of_inputs_and_bytes_of_the_frame_and_of_each():
    scenario = over(1000, workload={"rate_fps": 10.0}, prices=Prices(2.0, 10.0))
    found, one = cost.of(in_batches(4)[2], scenario), cost.of(CANDIDATES[2], scenario)

    assert found.stages_fps["edge"] == pytest.approx(4 * one.stages_fps["edge"])
    assert found.edge_load == pytest.approx(one.edge_load / 4)
    assert found.bytes_per_input == found.bytes_per_frame / 4
    assert found.candidate.payload_bytes == 4 * one.candidate.payload_bytes
    assert found.bytes_per_input < one.bytes_per_frame
    assert found.bytes_per_day == pytest.approx(found.bytes_per_input * 10 * 86_400)
    assert found.price_per_day == pytest.approx(found.bytes_per_day / 1e9 * 2.0 + 2.5 * 0.016 * 24 * 10.0)


def test_a_head_that_takes_no_batch_is_not_picked_and_said():
    edge = dataclasses.replace(EDGE, batch=4, cuts=EDGE.cuts[:2])
    decision = decide(over(4, workload={"rate_fps": 10.0}), edge, dataclasses.replace(CLOUD, batch=4))
    why = {entry.id: report_text.why_not(entry, decision) for entry in decision.judged}

    assert why["op001"] == "the edge's profile has no timing of its head for 4 inputs at once; its notes say why"
    assert "inputs/s" in report_text.turns({"rate_fps": breakeven.BreakEven(3.0, None, False)}, 4)[0]
