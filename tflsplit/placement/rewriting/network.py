"""A graph as sharing sees it: how each operator can be shared, and which tensors are needed until when.

All of it is worked out once, since a search asks for it some hundred thousand times.
"""

from functools import cached_property
from typing import Any

from tflsplit.graph.flatgraph import Graph
from tflsplit.placement.rewriting import boxes, rules
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.rules import Rule


class Network:
    """`rules`, `constant_bytes` are by operator; `shapes`, `wholes` and `item_bytes` by tensor. `pieces` keeps what was
    worked out of parts of it, for `rewriting.pieces`: by end and outputs, and by start."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rules: tuple[Rule | None, ...] = tuple(rules.of(graph, operator) for operator in graph.operators)
        self.pieces: dict[tuple[Any, ...], dict[int, Any]] = {}
        self.shapes = tuple(tensor.shape for tensor in graph.tensors)
        self.wholes: tuple[Box, ...] = tuple(map(boxes.whole, self.shapes))
        self.item_bytes = tuple(
            tensor.spec.bytes // max(1, tensor.spec.elements) if tensor.spec else 0 for tensor in graph.tensors
        )
        self.constant_bytes = tuple(
            sum(graph.tensors[index].constant_bytes for index in operator.inputs if index >= 0)
            for operator in graph.operators
        )

    @property
    def count(self) -> int:
        """Of operators."""
        return len(self.graph.operators)

    @cached_property
    def needed_from(self) -> tuple[frozenset[int], ...]:
        """By place: the tensors, without constants and state, that an operator from there on reads, or outputs."""
        needed = {index for index in self.graph.outputs if self.graph.tensors[index].is_computed}
        found = [frozenset(needed)]
        for operator in reversed(self.graph.operators):
            needed |= {index for index in operator.inputs if index >= 0 and self.graph.tensors[index].is_computed}
            found.append(frozenset(needed))
        return tuple(reversed(found))

    @cached_property
    def crossing(self) -> tuple[tuple[int, ...], ...]:
        """By place: the tensors that cross there; the inputs at the first one."""
        made: set[int] = set()
        found = [self.graph.inputs]
        for place, operator in enumerate(self.graph.operators, 1):
            made.update(operator.outputs)
            found.append(tuple(sorted((made | set(self.graph.inputs)) & self.needed_from[place])))
        return tuple(found)

    def made_within(self, start: int, stop: int) -> tuple[int, ...]:
        """Tensors that operators `start:stop` make and that are needed later, in order."""
        later = self.needed_from[stop]
        return tuple(
            index for operator in self.graph.operators[start:stop] for index in operator.outputs if index in later
        )
