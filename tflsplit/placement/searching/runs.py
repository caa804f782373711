"""A run of operators in one layout, costed without knowing how its inputs are laid out, and then with it.

Runs of the same operators on the same shapes cost the same, so a network of repeated blocks is costed once a block.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tflsplit.graph.tensors import Array
from tflsplit.placement import cost, placement
from tflsplit.placement.machines import Cluster, Machine
from tflsplit.placement.placement import Holdings
from tflsplit.placement.rewriting import boxes, pieces
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import blocks
from tflsplit.placement.searching.blocks import Manner
from tflsplit.placement.searching.layouts import Layout
from tflsplit.values.classes import dataclass

# Instead of no time at all, which has no rate.
_LEAST_S = 1e-30


@dataclass(frozen=True, slots=True)
class Needed:
    """What `machines` (A,) need of one input: parts (A, rank, 2), and before which stage each is fetched (A,)."""

    machines: Array
    parts: Array
    stages: Array
    item_bytes: int


@dataclass(frozen=True, slots=True)
class Held:
    """How a tensor lies in each of some ways: parts (P, rank, 2), none of them empty, with the way and the machine of
    each (P,). Parts are in the order of ways; those of each begin at `starts` (ways,)."""

    parts: Array
    ways: Array
    machines: Array
    starts: Array


@dataclass(frozen=True, slots=True)
class Run:
    """`sent` and `received` are bytes moved inside it, (stages, N); `compute_s` (stages, N), and whether a stage
    `adds` sums, (stages,); memory in bytes by machine. `needs` has one entry for each input."""

    needs: tuple[Needed, ...]
    sent: Array
    received: Array
    compute_s: Array
    adds: tuple[bool, ...]
    parameter_bytes: Array
    feature_bytes: Array


@dataclass(frozen=True, slots=True)
class Entered:
    """A run with its inputs laid out in each of some ways: seconds of the exchange before each stage (ways, stages),
    and bytes that each machine sends and receives (ways, N)."""

    exchange_s: Array
    sent: Array
    received: Array


def run(network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine], *, manner: Manner) -> Run:
    count, sources = len(machines), network.crossing[start]
    holdings = Holdings(network, count, frozenset(sources))
    asked: dict[int, dict[int, tuple[int, Box]]] = {tensor: {} for tensor in sources}
    sent, received, compute_s, adds = [], [], [], []
    parameters, features = np.zeros(count), np.zeros(count)
    for number, stage in enumerate(blocks.stages(network, start, stop, layout, machines, manner=manner)):
        step = placement.step(network, stage, holdings)
        for tensor, machine, box in holdings.asked:
            first, before = asked[tensor].get(machine, (number, box))
            asked[tensor][machine] = (first, boxes.hull([before, box]))
        holdings.asked.clear()
        out, into = cost.traffic((*step.moves, *step.sums), count)
        sent.append(out)
        received.append(into)
        compute_s.append([cost.machine_s(step, each, machines[each]) for each in range(count)])
        adds.append(bool(stage.adds))
        for machine in range(count):
            for piece in step.run_by(machine):
                parameters[machine] += piece.parameter_bytes
                features[machine] = max(features[machine], piece.feature_bytes)
    needs = tuple(
        _needed(parts, len(network.shapes[tensor]), network.item_bytes[tensor]) for tensor, parts in asked.items()
    )
    return Run(needs, np.array(sent), np.array(received), np.array(compute_s), tuple(adds), parameters, features)


def held(ways: Sequence[Sequence[Box | None]]) -> Held:
    """From each machine's part of a tensor in each of some ways; somebody has one in each."""
    found = [
        (way, machine, box) for way, parts in enumerate(ways) for machine, box in enumerate(parts) if box is not None
    ]
    numbers, machines, parts = zip(*found, strict=True)
    in_order = np.array(numbers)
    return Held(np.array(parts), in_order, np.array(machines), np.searchsorted(in_order, np.arange(len(ways))))


def entered(made: Run, inputs: Sequence[Held], cluster: Cluster) -> Entered:
    """`inputs` are how each of them lies; the machines' parts do not overlap."""
    ways = len(inputs[0].starts)
    sent, received = np.repeat(made.sent[None], ways, axis=0), np.repeat(made.received[None], ways, axis=0)
    for needed, has in zip(made.needs, inputs, strict=True):
        moved = _moved(needed, has) * needed.item_bytes
        received[:, needed.stages, needed.machines] += np.add.reduceat(moved, has.starts, axis=1).T
        for stage in set(needed.stages):
            sent[has.ways, stage, has.machines] += moved[needed.stages == stage].sum(axis=0)
    return Entered(cluster.exchange_s(sent, received), sent.sum(axis=1), received.sum(axis=1))


def gathered(shape: Sequence[int], item_bytes: int, has: Held, cluster: Cluster) -> Entered:
    """What it takes to bring a tensor to the sink."""
    needed = _needed({cluster.sink: (0, boxes.whole(shape))}, len(shape), item_bytes)
    nothing = np.zeros((1, len(cluster.machines)))
    bring = Run((needed,), nothing, nothing, nothing, (False,), nothing[0], nothing[0])
    return entered(bring, (has,), cluster)


def rest_s(network: Network, places: Sequence[int], machines: Sequence[Machine]) -> Array:
    """What each machine alone takes for everything from each place on, (places, N), without overhead."""
    made = [pieces.piece(network, place, place + 1, _whole(network, place)) for place in range(network.count)]
    each_s = np.array([[cost.run_s(piece, machine) for machine in machines] for piece in made])
    rest: Array = np.cumsum(each_s[::-1], axis=0)[::-1][list(places[:-1])]
    return np.maximum(rest, _LEAST_S)


def _whole(network: Network, place: int) -> dict[int, Box]:
    return {tensor: network.wholes[tensor] for tensor in network.graph.operators[place].outputs}


def likeness(network: Network, start: int, stop: int) -> tuple[Any, ...]:
    """Equal for runs that cost the same: operators, shapes, and which of them read what, counted from the start."""
    graph, later = network.graph, network.needed_from[stop]
    numbers: dict[int, int] = {}
    found = []
    for operator in graph.operators[start:stop]:
        described = []
        for index in (*operator.inputs, *operator.outputs):
            tensor = graph.tensors[index] if index >= 0 else None
            if tensor is not None:
                number = -1 if tensor.is_constant else numbers.setdefault(index, len(numbers))
                described.append((number, tensor.shape, tensor.type_name, index in later))
        found.append((operator.name, tuple(described), _options(network, operator.index)))
    return tuple(found)


def _needed(asked: Mapping[int, tuple[int, Box]], rank: int, item_bytes: int) -> Needed:
    """From each machine's part, and the stage before which it is fetched."""
    parts = np.array([box for _, box in asked.values()], np.int64).reshape(-1, rank, 2)
    stages = np.array([stage for stage, _ in asked.values()], np.int64)
    return Needed(np.array(list(asked), np.int64), parts, stages, item_bytes)


def _moved(needed: Needed, has: Held) -> Array:
    """Elements (A, P), by who needs and what is held; 0 for one's own."""
    moved: Array = (needed.machines[:, None] != has.machines).astype(np.int64)
    for (first, last), (start, stop) in zip(needed.parts.transpose(1, 2, 0), has.parts.transpose(1, 2, 0), strict=True):
        common = np.minimum(last[:, None], stop) - np.maximum(first[:, None], start)
        moved *= np.maximum(common, 0, out=common)
    return moved


def _options(network: Network, index: int) -> tuple[Any, ...]:
    options = network.graph.source.subgraphs[0].operators[index].builtinOptions
    fields = vars(options).items() if options is not None else ()
    return tuple((name, value) for name, value in fields if isinstance(value, (int, float, bool)))
