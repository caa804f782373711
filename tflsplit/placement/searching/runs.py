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
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import blocks
from tflsplit.placement.searching.blocks import Manner
from tflsplit.placement.searching.layouts import Layout


@dataclass(frozen=True, slots=True)
class Needed:
    """Each machine's part (N, rank, 2) of one input, and before which stage it is fetched."""

    parts: Array
    stages: tuple[int, ...]
    item_bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """`sent` and `received` are bytes moved inside it, (stages, N); `compute_s` (stages, N); memory in bytes by
    machine. `needs` has one entry for each input."""

    needs: tuple[Needed, ...]
    sent: Array
    received: Array
    compute_s: Array
    parameter_bytes: Array
    feature_bytes: Array


@dataclass(frozen=True, slots=True)
class Entered:
    """A run with its inputs laid out in each of some ways: seconds (ways,), and bytes that each machine sends and
    receives (ways, N)."""

    latency_s: Array
    sent: Array
    received: Array


def run(network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine], *, manner: Manner) -> Run:
    count, sources = len(machines), network.crossing[start]
    held = Holdings(network, count, frozenset(sources))
    asked: dict[tuple[int, int], tuple[int, Box]] = {}
    sent, received, compute_s = [], [], []
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
        for machine in range(count):
            for piece in step.run_by(machine):
                parameters[machine] += piece.parameter_bytes
                features[machine] = max(features[machine], piece.feature_bytes)
    needs = tuple(_needed(network, tensor, asked, count) for tensor in sources)
    return Run(needs, np.array(sent), np.array(received), np.array(compute_s), parameters, features)


def entered(made: Run, held: Sequence[Array], cluster: Cluster) -> Entered:
    """`held` are the parts (ways, N, rank, 2) of each input; the machines' parts do not overlap."""
    ways = len(held[0])
    sent, received = np.repeat(made.sent[None], ways, axis=0), np.repeat(made.received[None], ways, axis=0)
    for needed, parts in zip(made.needs, held, strict=True):
        moved = _moved(needed.parts, parts) * needed.item_bytes
        for machine, stage in enumerate(needed.stages):
            received[:, stage, machine] += moved[:, machine].sum(axis=1)
            sent[:, stage] += moved[:, machine]
    latency_s = _exchange_s(sent, received, cluster) + made.compute_s.max(axis=1).sum()
    return Entered(latency_s, sent.sum(axis=1), received.sum(axis=1))


def gathered(shape: Sequence[int], item_bytes: int, held: Array, cluster: Cluster) -> Entered:
    """What it takes to bring a tensor to the sink; `held` as in `entered`."""
    count = held.shape[1]
    needs = parts_array([boxes.whole(shape) if each == cluster.sink else None for each in range(count)], len(shape))
    nothing = np.zeros((1, count))
    bring = Run((Needed(needs, (0,) * count, item_bytes),), nothing, nothing, nothing, nothing[0], nothing[0])
    return entered(bring, (held,), cluster)


def parts_array(parts: Sequence[Box | None], rank: int) -> Array:
    made: Array = np.zeros((len(parts), rank, 2), np.int64)
    for machine, box in enumerate(parts):
        if box is not None:
            made[machine] = box
    return made


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


def _exchange_s(sent: Array, received: Array, cluster: Cluster) -> Array:
    """Seconds for exchanges one after the other; arrays are (ways, exchanges, N)."""
    total: Array = cluster.exchange_s(sent, received).sum(axis=1)
    return total


def _options(network: Network, index: int) -> tuple[Any, ...]:
    options = network.graph.source.subgraphs[0].operators[index].builtinOptions
    fields = vars(options).items() if options is not None else ()
    return tuple((name, value) for name, value in fields if isinstance(value, (int, float, bool)))
