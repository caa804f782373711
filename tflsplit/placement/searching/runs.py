"""A run of operators in one layout, costed without knowing how its inputs are laid out, and then with it.

Runs of the same operators on the same shapes cost the same, so a network of repeated blocks is costed once a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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

# Instead of no time at all, which has no rate.
_LEAST_S = 1e-30


@dataclass(frozen=True, slots=True)
class Needed:
    """Each machine's part (N, rank, 2) of one input, and before which stage it is fetched."""

    parts: Array
    stages: tuple[int, ...]
    item_bytes: int


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
    held = Holdings(network, count, frozenset(sources))
    asked: dict[tuple[int, int], tuple[int, Box]] = {}
    sent, received, compute_s, adds = [], [], [], []
    parameters, features = np.zeros(count), np.zeros(count)
    for number, stage in enumerate(blocks.stages(network, start, stop, layout, machines, manner=manner)):
        step = placement.step(network, stage, held)
        for tensor, machine, box in held.asked:
            first, before = asked.get((tensor, machine), (number, box))
            asked[tensor, machine] = (first, boxes.hull([before, box]))
        held.asked.clear()
        out, into = cost.traffic((*step.moves, *step.sums), count)
        sent.append(out)
        received.append(into)
        compute_s.append([cost.machine_s(step, each, machines[each]) for each in range(count)])
        adds.append(bool(stage.adds))
        for machine in range(count):
            for piece in step.run_by(machine):
                parameters[machine] += piece.parameter_bytes
                features[machine] = max(features[machine], piece.feature_bytes)
    needs = tuple(_needed(network, tensor, asked, count) for tensor in sources)
    return Run(needs, np.array(sent), np.array(received), np.array(compute_s), tuple(adds), parameters, features)


def entered(made: Run, held: Sequence[Array], cluster: Cluster) -> Entered:
    """`held` are the parts (ways, N, rank, 2) of each input; the machines' parts do not overlap."""
    ways = len(held[0])
    sent, received = np.repeat(made.sent[None], ways, axis=0), np.repeat(made.received[None], ways, axis=0)
    for needed, parts in zip(made.needs, held, strict=True):
        moved = _moved(needed.parts, parts) * needed.item_bytes
        for machine, stage in enumerate(needed.stages):
            received[:, stage, machine] += moved[:, machine].sum(axis=1)
            sent[:, stage] += moved[:, machine]
    return Entered(cluster.exchange_s(sent, received), sent.sum(axis=1), received.sum(axis=1))


def gathered(shape: Sequence[int], item_bytes: int, held: Array, cluster: Cluster) -> Entered:
    """What it takes to bring a tensor to the sink; `held` as in `entered`."""
    count = held.shape[1]
    needs = parts_array([boxes.whole(shape) if each == cluster.sink else None for each in range(count)], len(shape))
    nothing = np.zeros((1, count))
    bring = Run((Needed(needs, (0,) * count, item_bytes),), nothing, nothing, nothing, (False,), nothing[0], nothing[0])
    return entered(bring, (held,), cluster)


def parts_array(parts: Sequence[Box | None], rank: int) -> Array:
    made: Array = np.zeros((len(parts), rank, 2), np.int64)
    for machine, box in enumerate(parts):
        if box is not None:
            made[machine] = box
    return made


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


def _needed(network: Network, tensor: int, asked: dict[tuple[int, int], tuple[int, Box]], count: int) -> Needed:
    found = [asked.get((tensor, machine)) for machine in range(count)]
    parts = parts_array([each and each[1] for each in found], len(network.shapes[tensor]))
    return Needed(parts, tuple(each[0] if each else 0 for each in found), network.item_bytes[tensor])


def _moved(needs: Array, held: Array) -> Array:
    """Elements (ways, N, N), by who needs and who has them; 0 for one's own."""
    low = np.maximum(needs[None, :, None, :, 0], held[:, None, :, :, 0])
    high = np.minimum(needs[None, :, None, :, 1], held[:, None, :, :, 1])
    moved: Array = np.prod(np.maximum(high - low, 0), axis=3) * ~np.eye(len(needs), dtype=bool)
    return moved


def _options(network: Network, index: int) -> tuple[Any, ...]:
    options = network.graph.source.subgraphs[0].operators[index].builtinOptions
    fields = vars(options).items() if options is not None else ()
    return tuple((name, value) for name, value in fields if isinstance(value, (int, float, bool)))
