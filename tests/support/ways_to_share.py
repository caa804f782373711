"""Ways to share a network: each alone, mixed by the search, and as chains. They have to give what the whole gives."""

import dataclasses
import itertools

import numpy as np

from tflsplit.api import distributing
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement import cost, distribution, placement, running
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.placement import Placement
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import schemes, search
from tflsplit.placement.searching.search import Objective


def cluster(count, *, speed=3.4e9, bps=1e9):
    """Uneven ones, of which the last is the slowest."""
    machines = tuple(Machine(f"m{each}", speed / (1 + each % 3), piece_s=1e-4) for each in range(count))
    return Cluster(machines, Medium(bps, 1e-4))


def chain(network, count):
    """About as many operators on each of so many machines; the last one has the outputs."""
    edges = [network.count * each // count for each in range(count + 1)]
    stages = [
        placement.whole_stage(network, *pair, machine, count) for machine, pair in enumerate(itertools.pairwise(edges))
    ]
    return Placement(count, tuple(stages), 0, count - 1)


def way(name, network, count, **options):
    """One of `ways`."""
    joined = cluster(count, **options)
    if name == "chain":
        return chain(network, count)
    if name in [each.value for each in Objective]:
        return search.search(network, joined, Objective(name)).placement
    return schemes.of(network, joined)[name]


def ways(network, count):
    """By name: each simple way, what the search finds, and a chain."""
    names = (*schemes.of(network, cluster(count)), Objective.LATENCY.value, Objective.THROUGHPUT.value, "chain")
    return {name: way(name, network, count) for name in names}


def write(package, joined, placed, folder):
    """The folder of any placement, for workers."""
    network, joined = Network(package.graph), dataclasses.replace(joined, source=placed.source, sink=placed.sink)
    alone = schemes.of(network, joined)[schemes.ONE_MACHINE]
    scheduled, simple = placement.schedule(network, placed), placement.schedule(network, alone)
    found = distribution.Distribution(
        *(joined, Objective.LATENCY, placed, scheduled, cost.of(scheduled, joined), 0),
        schemes={schemes.ONE_MACHINE: cost.of(simple, joined)},
        macs=0,
        unshared=(),
    )
    return distributing.write(found, package, folder)


def differing(data, placements, samples=1):
    """The names of the placements that do not give what the whole gives."""
    network, wrong = Network(flatgraph.read(data)), []
    with Interpreter(data) as whole:
        drawn = verify.random_samples(whole.inputs, samples)
        expected = [whole.run(*sample) for sample in drawn]
    assert all(len(np.unique(each)) > 1 for outputs in expected for each in outputs)
    for name, placed in placements.items():
        placement.check(network, placed)
        scheduled = placement.schedule(network, placed)
        for sample, outputs in zip(drawn, expected, strict=True):
            made = running.run(network, placed, scheduled, sample)
            if any(one.tobytes() != other.tobytes() for one, other in zip(outputs, made, strict=True)):
                wrong.append(name)
    return wrong
