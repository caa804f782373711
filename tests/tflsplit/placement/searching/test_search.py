"""The search against all there is, its bounds, and the simple schemes beside it."""

import dataclasses
import itertools

import int8_networks
import numpy as np
import pytest

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement import cost, placement, running
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.placement import Placement
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import blocks, layouts, schemes, search
from tflsplit.placement.searching.search import Objective


def _small() -> bytes:
    net = int8_networks.Network(2)
    x = net.conv(net.input(24, 24, 3), 16)
    x = net.conv(x, 48, 3, 2)
    return net.bytes(net.mean(x, keeps=False))


def _cluster(*speeds, medium, **options):
    machines = (Machine(f"m{number}", speed * 1e6, piece_s=1e-4, **options) for number, speed in enumerate(speeds))
    return Cluster(tuple(machines), medium)


def _costs(network, placed, cluster):
    return cost.of(placement.schedule(network, placed), cluster)


def _every(network, machines):
    """All placements of the search's kind: each way to part the places into runs, in each layout and manner."""
    marks, choices = search.places(network), list(layouts.every(machines))
    for inner in itertools.product((False, True), repeat=len(marks) - 2):
        edges = [0, *(place for place, is_edge in zip(marks[1:-1], inner, strict=True) if is_edge), marks[-1]]
        pairs = list(itertools.pairwise(edges))
        ways = [
            [(layout, manner) for layout in choices for manner in blocks.manners(network, *pair, layout, machines)]
            for pair in pairs
        ]
        for taken in itertools.product(*ways):
            stages = [
                stage
                for (start, stop), (layout, manner) in zip(pairs, taken, strict=True)
                for stage in blocks.stages(network, start, stop, layout, machines, manner=manner)
            ]
            yield Placement(len(machines), tuple(stages))


def _narrow() -> bytes:
    """Many features, few results: sums of these are less to send than the features."""
    net = int8_networks.Network(6)
    return net.bytes(net.dense(net.flat(net.conv(net.input(24, 24, 3), 64, 5)), 10))


@pytest.mark.parametrize("model", [_small, _narrow])
@pytest.mark.parametrize("medium", [Medium(20e6, 1e-4), Medium(20e6, 1e-4, is_shared=True), Medium(1e5)])
def test_the_search_is_within_a_hundredth_of_all_there_is(model, medium):
    network, cluster = Network(flatgraph.read(model())), _cluster(40, 20, medium=medium)
    found = search.search(network, cluster).placement
    best = min(_costs(network, each, cluster).latency_s for each in _every(network, cluster.machines))
    assert _costs(network, found, cluster).latency_s <= best * 1.01


WORTH = {
    Objective.LATENCY: lambda costs: costs.latency_s,
    Objective.THROUGHPUT: lambda costs: costs.busy_s,
    Objective.BYTES: lambda costs: costs.bytes_exchanged,
    Objective.MEMORY: lambda costs: max(costs.memory_bytes),
    Objective.ENERGY: lambda costs: costs.energy_j,
}


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("model", [int8_networks.everything, int8_networks.pyramid])
def test_what_is_found_is_exact_and_no_worse_than_the_schemes(model, objective):
    network = Network(flatgraph.read(model()))
    cluster = _cluster(60, 30, 30, power_w=2.0, medium=Medium(50e6, 1e-4))
    found = search.search(network, cluster, objective)
    for placed in (found.placement, found.unfused):
        scheduled = placement.schedule(network, placed)
        with Interpreter(model()) as whole:
            (sample,) = verify.random_samples(whole.inputs, 1)
            for expected, part in zip(whole.run(*sample), running.run(network, placed, scheduled, sample), strict=True):
                assert np.array_equal(expected, part)

    worth = WORTH[objective]
    simple = {name: worth(_costs(network, placed, cluster)) for name, placed in schemes.of(network, cluster).items()}
    assert worth(_costs(network, found.placement, cluster)) <= min(simple.values()) * 1.001, simple


def test_input_channels_are_shared_where_that_wins_and_exact():
    network, cluster = Network(flatgraph.read(_narrow())), _cluster(40, 20, 20, medium=Medium(1e6, 1e-4))
    placed = search.search(network, cluster).placement
    dense = next(each.index for each in network.graph.operators if each.name == "FULLY_CONNECTED")
    assert any(stage.adds for stage in placed.stages if stage.start == dense)
    scheduled = placement.schedule(network, placed)
    assert scheduled.bytes_exchanged < 24 * 24 * 3 * 2  # less than the picture twice: the features went nowhere
    with Interpreter(_narrow()) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        (expected,), (found,) = whole.run(*sample), running.run(network, placed, scheduled, sample)
    assert np.array_equal(expected, found)


def test_fewer_machines_are_taken_where_they_are_faster():
    network = Network(flatgraph.read(_small()))
    slow, quick = (search.search(network, _cluster(40, 40, 40, medium=Medium(bps))).placement for bps in (1e4, 1e9))
    assert all(not made for stage in slow.stages for made in stage.makes[1:])
    assert any(made for stage in quick.stages for made in stage.makes[1:])


def test_a_pipeline_of_eight_does_nearly_eight_times_as_much():
    """On a link that allows it: 0.85 of the number of machines."""
    net = int8_networks.Network(8)
    x = net.input(32, 32, 8)
    for _ in range(12):
        x = net.conv(x, 16)
    network = Network(flatgraph.read(net.bytes(x)))
    cluster = _cluster(*[2] * 8, medium=Medium(1e9))
    found = search.search(network, cluster, Objective.THROUGHPUT).placement
    alone = _costs(network, schemes.of(network, cluster)["one_machine"], cluster)
    assert alone.busy_s / _costs(network, found, cluster).busy_s >= 0.85 * 8


def test_more_machines_than_rows_or_channels_are_left_out_where_they_have_no_part():
    net = int8_networks.Network(9)
    data = net.bytes(net.conv(net.conv(net.input(3, 3, 4), 5, 1), 3, 1))
    network, cluster = Network(flatgraph.read(data)), _cluster(*[0.01] * 12, medium=Medium(1e9))
    placed = search.search(network, cluster).placement
    used = {machine for stage in placed.stages for machine, made in enumerate(stage.makes) if made}
    assert 1 < len(used) < 12
    with Interpreter(data) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        for each in (placed, *schemes.of(network, cluster).values()):
            made = running.run(network, each, placement.schedule(network, each), sample)
            assert np.array_equal(whole.run(*sample)[0], made[0])


def test_a_slow_link_of_one_machine_leaves_it_out():
    network = Network(flatgraph.read(_small()))
    cluster = _cluster(40, 40, 40, medium=Medium(1e9))
    slow = dataclasses.replace(cluster.machines[2], bandwidth_bps=1e4)
    found = search.search(network, dataclasses.replace(cluster, machines=(*cluster.machines[:2], slow))).placement
    assert any(stage.makes[1] for stage in found.stages)
    assert not any(stage.makes[2] for stage in found.stages)


def test_uneven_machines_take_as_long_as_their_speed_together():
    """Speeds of 4:2:1:1: within a tenth of all work over all speed, and the exchange."""
    net = int8_networks.Network(3)
    x = net.conv(net.input(64, 64, 3), 16)
    for _ in range(3):
        x = net.conv(x, 16)
    network = Network(flatgraph.read(net.bytes(x)))
    cluster = _cluster(4, 2, 1, 1, medium=Medium(1e9))
    scheduled = placement.schedule(network, search.search(network, cluster).placement)
    alone = placement.schedule(network, schemes.of(network, cluster)["one_machine"])
    parts = cost.balance(scheduled, alone, cluster)
    assert parts.over_evenly <= 1.1
    assert parts.work_s == pytest.approx(cost.of(alone, cluster).macs[0] / 8e6)
    assert parts.overhead_s == pytest.approx(1e-4 * len(scheduled.steps))
    assert min(dataclasses.astuple(parts)) >= 0
    assert sum(dataclasses.astuple(parts)) == pytest.approx(cost.of(scheduled, cluster).latency_s)


def test_shares_are_as_even_as_whole_rows_and_columns_allow():
    """Of 28 rows machines of speed 4:2:1:1 take 14, 7 and 3.5 each: halves of columns instead of rows."""
    machines = _cluster(4, 2, 1, 1, medium=Medium(1e9)).machines
    (tiled,) = (each for each in layouts.every(machines, (), [(28, 28)]) if each.groups == ((0,), (1, 2, 3)))
    parts = tiled.parts((1, 28, 28, 8), machines)
    assert [boxes.volume(part) / 8 for part in parts] == [392, 196, 98, 98]


@pytest.mark.parametrize("extent", [1, 7, 14, 56, 1000])
@pytest.mark.parametrize("weights", [(1, 1, 1), (4, 2, 1, 1), (1, 1, 2, 4), (3.4, 0.1, 1)])
def test_no_other_shares_are_quicker(extent, weights):
    ends = [0, *(stop for _, stop in layouts.shares(extent, weights))]
    assert ends == sorted(ends)
    assert ends[-1] == extent

    def takes(counts):
        return max(count / weight for count, weight in zip(counts, weights, strict=True))

    found = [stop - start for start, stop in itertools.pairwise(ends)]
    for giver, taker in itertools.permutations(range(len(weights)), 2):
        others = list(found)
        others[giver], others[taker] = found[giver] - 1, found[taker] + 1
        assert others[giver] < 0 or takes(others) >= takes(found) - 1e-9


def test_layers_that_exchange_nothing_are_one_piece():
    """Of a narrow, a wide and a narrow layer the wide one alone reaches over other rows."""
    net = int8_networks.Network(4)
    x = net.input(32, 32, 8)
    for reach in (1, 3, 1, 1, 3, 1):
        x = net.conv(x, 16, reach)
    network, cluster = Network(flatgraph.read(net.bytes(x))), _cluster(1, 1, medium=Medium(1e9))
    placed = search.search(network, cluster).placement
    assert [stage.start for stage in placed.stages if all(stage.makes)] == [0, 1, 4]


def test_a_bound_on_memory_is_held_and_what_is_missing_is_said():
    network, medium = Network(flatgraph.read(_small())), Medium(20e6)
    one = _cluster(40, medium=medium)
    alone = _costs(network, schemes.of(network, one)["one_machine"], one)
    bounded = _cluster(40, 40, 40, memory_bytes=0.6 * alone.memory_bytes[0], medium=medium)
    costs = _costs(network, search.search(network, bounded).placement, bounded)
    assert max(costs.memory_bytes) <= 0.6 * alone.memory_bytes[0]
    with pytest.raises(errors.SettingsError, match=r"needs 0\.\d\d MiB more of m\d"):
        search.search(network, _cluster(40, 40, memory_bytes=100.0, medium=medium))


def test_what_just_fits_is_found_whatever_is_wanted():
    network = Network(flatgraph.read(int8_networks.everything()))
    wide = _cluster(40, 40, 40, medium=Medium(20e6))
    least = max(_costs(network, search.search(network, wide, Objective.MEMORY).placement, wide).memory_bytes)
    tight = _cluster(40, 40, 40, medium=Medium(20e6), memory_bytes=least * 1.05)
    for objective in Objective:
        placed = search.search(network, tight, objective).placement
        assert max(_costs(network, placed, tight).memory_bytes) <= least * 1.05


def test_of_many_machines_not_every_number_is_tried():
    many = tuple(Machine(f"m{each}", 1e9) for each in range(64))
    numbers = sorted({len(each.machines) for each in layouts.every(many, {63})})
    assert numbers == [1, 2, 3, 4, 6, 8, 12, 16, 32, 64]
    assert len({len(each.groups) for each in layouts.every(many) if len(each.machines) == 64}) == 3
    alone = [each.machines for each in layouts.every(many, {63}) if each.is_one]
    assert (0,) in alone
    assert (63,) in alone
    assert sorted({len(each.machines) for each in layouts.every(many[:12])}) == list(range(1, 13))
