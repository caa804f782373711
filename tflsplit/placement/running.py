"""A placement run in one process, machine by machine: the proof that it gives what the whole model gives."""

from collections.abc import Mapping, Sequence

import numpy as np

from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.placement.placement import Move, Placement, Schedule, Step
from tflsplit.placement.rewriting import boxes, partial_sums, pieces
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Piece


class Parts:
    """The parts of tensors that one machine has."""

    def __init__(self) -> None:
        self._held: dict[int, list[tuple[Box, Array]]] = {}

    def add(self, tensor: int, box: Box, array: Array) -> None:
        self._held.setdefault(tensor, []).append((box, array))

    def get(self, tensor: int, box: Box) -> Array:
        """The part, put together from what is held."""
        held = self._held[tensor]
        for outer, array in held:
            if boxes.holds(outer, box):
                part: Array = np.ascontiguousarray(array[boxes.slices(boxes.within(box, outer))])
                return part
        made: Array = np.empty(boxes.shape(box), held[0][1].dtype)
        for outer, array in held:
            shared = boxes.common(outer, box)
            if not boxes.is_empty(shared):
                made[boxes.slices(boxes.within(shared, box))] = array[boxes.slices(boxes.within(shared, outer))]
        return made

    def forget(self, kept: frozenset[int]) -> None:
        self._held = {tensor: parts for tensor, parts in self._held.items() if tensor in kept}


def run(
    network: Network, placement: Placement, schedule: Schedule, inputs: Sequence[Array], *, threads: int = 1
) -> tuple[Array, ...]:
    """The outputs of the model, whose input arrays are in the order of the graph's inputs."""
    machines = [Parts() for _ in range(placement.machines)]
    for tensor, array in zip(network.graph.inputs, inputs, strict=True):
        machines[placement.source].add(tensor, network.wholes[tensor], array)
    for step in schedule.steps:
        _move(step.moves, machines)
        for machine, made in enumerate(_made(network, step, machines, threads)):
            for tensor, (box, array) in made.items():
                machines[machine].add(tensor, box, array)
    _move(schedule.last, machines)
    sink = machines[placement.sink]
    return tuple(sink.get(tensor, network.wholes[tensor]) for tensor in network.graph.outputs)


def _move(moves: Sequence[Move], machines: Sequence[Parts]) -> None:
    sent = [(move, machines[move.source].get(move.tensor, move.box)) for move in moves]
    for move, array in sent:
        machines[move.target].add(move.tensor, move.box, array)


def _made(
    network: Network, step: Step, machines: Sequence[Parts], threads: int
) -> list[Mapping[int, tuple[Box, Array]]]:
    if step.stage.adds:
        return _finished(network, step, machines, threads)
    return [
        {} if piece is None else _outputs(network, piece, held, threads)
        for piece, held in zip(step.pieces, machines, strict=True)
    ]


def _outputs(network: Network, piece: Piece, held: Parts, threads: int) -> dict[int, tuple[Box, Array]]:
    arrays = [held.get(tensor, box) for tensor, box in piece.inputs.items()]
    with Interpreter(pieces.model(network, piece), threads=threads) as opened:
        made = opened.run(*arrays)
    return {tensor: (box, array) for (tensor, box), array in zip(piece.outputs.items(), made, strict=True)}


def _finished(
    network: Network, step: Step, machines: Sequence[Parts], threads: int
) -> list[Mapping[int, tuple[Box, Array]]]:
    operator = network.graph.operators[step.stage.start]
    sums = [
        partial_sums.added(network.graph, operator, held.get(operator.inputs[0], box))
        for held, box in zip(machines, step.stage.adds, strict=True)
        if box is not None
    ]
    total: Array = np.stack(sums).sum(axis=0, dtype=np.int32)
    found: list[Mapping[int, tuple[Box, Array]]] = []
    for made in step.stage.makes:
        results: dict[int, tuple[Box, Array]] = {}
        for tensor, box in made.items():
            (part,) = partial_sums.sums_of(box)
            piece = partial_sums.finishing(network, operator, box)
            held = Parts()
            ((source, needed),) = piece.inputs.items()
            held.add(source, needed, partial_sums.stand_in(network.graph, operator, box, total[slice(*part)]))
            results |= _outputs(network, piece, held, threads)
            results[tensor] = (box, results[tensor][1])
        found.append(results)
    return found
