"""The search against all there is, its bounds, and the simple schemes beside it."""

import itertools

import int8_networks
import numpy as np
import pytest

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement import cost, placement, running
from tflsplit.placement.machines import Machine, Medium
from tflsplit.placement.placement import Placement
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import blocks, layouts, schemes, search
from tflsplit.placement.searching.blocks import Manner
from tflsplit.placement.searching.search import Objective


def _small() -> bytes:
    net = int8_networks.Network(2)
    x = net.conv(net.input(24, 24, 3), 16)
    x = net.conv(x, 48, 3, 2)
    return net.bytes(net.mean(x, keeps=False))


def _machines(*speeds, **options):
    return [Machine(f"m{number}", speed * 1e6, piece_s=1e-4, **options) for number, speed in enumerate(speeds)]


def _every(network, machines):
    """All placements of the search's kind: each way to part the places into runs, in each layout and manner."""
    marks, choices = search.places(network), list(layouts.every(machines))
    for inner in itertools.product((False, True), repeat=len(marks) - 2):
        edges = [0, *(place for place, is_edge in zip(marks[1:-1], inner, strict=True) if is_edge), marks[-1]]
        pairs = list(itertools.pairwise(edges))
        ways = [list(itertools.product(choices, Manner)) for _ in pairs]
        for taken in itertools.product(*ways):
            stages = [
                stage
                for (start, stop), (layout, manner) in zip(pairs, taken, strict=True)
                for stage in blocks.stages(network, start, stop, layout, machines, manner=manner)
            ]
            yield Placement(len(machines), tuple(stages))


@pytest.mark.parametrize("medium", [Medium(20e6, 1e-4), Medium(20e6, 1e-4, is_shared=True), Medium(1e5)])
def test_the_search_is_within_a_hundredth_of_all_there_is(medium):
    network, machines = Network(flatgraph.read(_small())), _machines(40, 20)
    found = search.search(network, machines, medium)
    best = min(
        cost.of(placement.schedule(network, each), machines, medium).latency_s for each in _every(network, machines)
    )
    assert cost.of(placement.schedule(network, found), machines, medium).latency_s <= best * 1.01


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("model", [int8_networks.everything, int8_networks.pyramid])
def test_what_is_found_is_exact_and_no_worse_than_the_schemes(model, objective):
    network, machines = Network(flatgraph.read(model())), _machines(60, 30, 30, power_w=2.0)
    medium = Medium(50e6, 1e-4)
    found = search.search(network, machines, medium, objective)
    scheduled = placement.schedule(network, found)
    with Interpreter(model()) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        for expected, part in zip(whole.run(*sample), running.run(network, found, scheduled, sample), strict=True):
            assert np.array_equal(expected, part)

    def worth(placed):
        costs = cost.of(placement.schedule(network, placed), machines, medium)
        return {
            Objective.LATENCY: costs.latency_s,
            Objective.THROUGHPUT: costs.busy_s,
            Objective.BYTES: costs.bytes_exchanged,
            Objective.MEMORY: max(costs.memory_bytes),
            Objective.ENERGY: costs.energy_j,
        }[objective]

    simple = {name: worth(placed) for name, placed in schemes.of(network, machines).items()}
    assert worth(found) <= min(simple.values()) * 1.001, simple


def test_fewer_machines_are_taken_where_they_are_faster():
    network, machines = Network(flatgraph.read(_small())), _machines(40, 40, 40)
    one = search.search(network, machines, Medium(1e4))
    assert all(not made for stage in one.stages for made in stage.makes[1:])
    assert any(made for stage in search.search(network, machines, Medium(1e9)).stages for made in stage.makes[1:])


def test_a_bound_on_memory_is_held_and_what_is_missing_is_said():
    network = Network(flatgraph.read(_small()))
    medium = Medium(20e6)
    alone = cost.of(
        placement.schedule(network, schemes.of(network, _machines(40))["one_machine"]), _machines(40), medium
    )
    bounded = _machines(40, 40, 40, memory_bytes=0.6 * alone.memory_bytes[0])
    found = search.search(network, bounded, medium)
    costs = cost.of(placement.schedule(network, found), bounded, medium)
    assert max(costs.memory_bytes) <= 0.6 * alone.memory_bytes[0]
    with pytest.raises(errors.SettingsError, match="no placement fits the machines' memory; the nearest needs"):
        search.search(network, _machines(40, 40, memory_bytes=100.0), medium)
