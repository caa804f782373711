"""A chain is the special case of one machine for each run, in turn: by both doors the same cuts at the same cost."""

import itertools

import int8_networks
import pytest

from tflsplit.chains import chain as chains
from tflsplit.chains import partitioner
from tflsplit.chains.chain import Chain, Hop
from tflsplit.graph import flatgraph
from tflsplit.placement import cost, placement
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import search
from tflsplit.placement.searching.layouts import Layout
from tflsplit.placement.searching.search import Objective, Paths

_BPS = 50e6


def _chain(network, cluster):
    """The same machines and links as a chain has them, each reaching each directly."""
    ends = search.places(network)
    pairs = list(itertools.pairwise(ends))
    wholes = [placement.whole_stage(network, *pair, 0, 1) for pair in pairs]
    made = [step.pieces[0] for step in placement.schedule(network, placement.Placement(1, tuple(wholes))).steps]

    def bytes_at(place):
        tensors = network.crossing[place] if place < network.count else network.graph.outputs
        return float(sum(network.graph.tensors[tensor].spec.bytes for tensor in tensors))

    stages = tuple(
        chains.Stage(
            machine.name, tuple(itertools.accumulate((cost.run_s(piece, machine) for piece in made), initial=0.0))
        )
        for machine in cluster.machines
    )
    hops = {pair: Hop(0.0, _BPS) for pair in itertools.combinations(range(len(stages)), 2)}
    return Chain(tuple(map(str, ends)), tuple(map(bytes_at, ends)), (0.0,) * len(ends), stages, hops)


@pytest.mark.parametrize("speeds", [(1, 4, 16), (2, 1, 40, 60)])
@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
def test_one_machine_for_each_run_in_turn_is_what_the_chain_finds(speeds, objective):
    placed, costs, chain, found = _both(int8_networks.mobile(96), speeds, objective)
    assert _worth(costs, objective) == pytest.approx(_figure_s(found, objective))
    assert [str(stage.start) for stage in placed.stages[1:]] == [chain.places[place] for place in found.cuts]
    used = [each for each in range(len(speeds)) if any(stage.makes[each] for stage in placed.stages)]
    assert used == [piece.stage for piece in found.shares]


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.THROUGHPUT])
def test_pieces_that_leave_out_what_nobody_reads_are_no_slower_than_a_chains(objective):
    """A stride of two reads no last row of an even number: a piece does not make it, and a chain's profile has it."""
    _, costs, _, found = _both(int8_networks.residual((2, 2, 2, 2), 64), (1, 4, 16), objective)
    chain_s = _figure_s(found, objective)
    assert 0.9 * chain_s <= _worth(costs, objective) <= chain_s * (1 + 1e-9)


def _worth(costs, objective):
    return costs.latency_s if objective is Objective.LATENCY else costs.busy_s


def _figure_s(found, objective):
    return found.latency_s if objective is Objective.LATENCY else found.slowest_s


def _both(model, speeds, objective):
    """What the search finds with one machine for each run, and the chain's; both end at the last machine."""
    network, last = Network(flatgraph.read(model)), len(speeds) - 1
    machines = tuple(Machine(f"m{each}", speed * 1e9, piece_s=0.0) for each, speed in enumerate(speeds))
    cluster = Cluster(machines, Medium(_BPS), sink=last)
    chain = _chain(network, cluster)
    alone = [Layout(((each,),)) for each in range(last + 1)]
    placed = search.search(network, cluster, objective, choices=alone, paths=Paths.IN_TURN).placement
    costs = cost.of(placement.schedule(network, placed), cluster)
    found = partitioner.fastest(chain)[0] if objective is Objective.LATENCY else partitioner.smoothest(chain)
    assert found.pieces[-1].stage == last
    return placed, costs, chain, found
