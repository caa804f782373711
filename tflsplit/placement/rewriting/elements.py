"""Operators that work element by element, or within a pixel: each part of the result needs the same part."""

from collections.abc import Sequence

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.building import Building
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Elementwise:
    """Inputs of fewer or narrower dimensions count for all indices of these. `mixed` are axes of the result, counted
    from the last one, along which all elements depend on each other."""

    graph: Graph
    operator: Operator
    mixed: Sequence[int] = ()

    def widened(self, made: Box) -> Box:
        shape = self.graph.tensors[self.operator.outputs[0]].shape
        for axis in self.mixed:
            place = axis % len(shape)
            made = boxes.replaced(made, place, (0, shape[place]))
        return made

    def needs(self, made: Box) -> dict[int, Box]:
        return {
            index: box
            for index, box in zip(self.operator.inputs, self._parts(made), strict=True)
            if index >= 0 and not self.graph.tensors[index].is_constant
        }

    def build(self, building: Building, made: Box) -> None:
        pairs = zip(self.operator.inputs, self._parts(made), strict=True)
        building.make(self.operator, [building.take(*pair) for pair in pairs], made)

    def macs(self, made: Box) -> int:
        return 0

    def _parts(self, made: Box) -> list[Box]:
        found: list[Box] = []
        for index in self.operator.inputs:
            shape = self.graph.tensors[index].shape if index >= 0 else ()
            aligned = made[len(made) - len(shape) :]
            found.append(tuple((0, 1) if extent == 1 else part for extent, part in zip(shape, aligned, strict=True)))
        return found


def softmax(graph: Graph, operator: Operator) -> Elementwise:
    return Elementwise(graph, operator, (-1,))


@dataclass(frozen=True, slots=True)
class Dense:
    """FULLY_CONNECTED: outputs apart from each other, and all leading dimensions."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        target, source = (self.graph.tensors[i].shape for i in (self.operator.outputs[0], self.operator.inputs[0]))
        if not self.graph.tensors[self.operator.inputs[1]].is_constant:
            return boxes.whole(target)
        # Leading dimensions that the operator joins are not told apart here.
        return made if source[:-1] == target[:-1] else (*boxes.whole(target[:-1]), made[-1])

    def needs(self, made: Box) -> dict[int, Box]:
        source = self.operator.inputs[0]
        shape = self.graph.tensors[source].shape
        is_alike = shape[:-1] == self.graph.tensors[self.operator.outputs[0]].shape[:-1]
        leading = made[:-1] if is_alike else boxes.whole(shape[:-1])
        needed = {source: (*leading, (0, shape[-1]))}
        weights = self.operator.inputs[1]
        if not self.graph.tensors[weights].is_constant:
            needed[weights] = boxes.whole(self.graph.tensors[weights].shape)
        return needed

    def build(self, building: Building, made: Box) -> None:
        source, weights, *bias = self.operator.inputs
        outputs = made[-1]
        shape = self.graph.tensors[weights].shape
        inputs = [
            building.take(source, self.needs(made)[source]),
            building.take(weights, (outputs, (0, shape[1]))),
            *(building.take(index, (outputs,)) for index in bias),
        ]
        building.make(self.operator, inputs, made)

    def macs(self, made: Box) -> int:
        return boxes.volume(made) * self.graph.tensors[self.operator.inputs[1]].shape[1]


@dataclass(frozen=True, slots=True)
class Mean:
    """MEAN over some axes, apart in all others."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        return made

    def needs(self, made: Box) -> dict[int, Box]:
        source, over = self.operator.inputs[0], self.axes
        shape = self.graph.tensors[source].shape
        keeps = len(made) == len(shape)
        kept = iter([axis for place, axis in enumerate(made) if not (keeps and place in over)])
        return {source: tuple((0, extent) if axis in over else next(kept) for axis, extent in enumerate(shape))}

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        building.make(self.operator, [building.take(source, box), self.operator.inputs[1]], made)

    def macs(self, made: Box) -> int:
        return 0

    @property
    def axes(self) -> set[int]:
        """Of the input, those that it is over; none where they are not known beforehand."""
        rank = len(self.graph.tensors[self.operator.inputs[0]].shape)
        held = flatgraph.constant(self.graph, self.operator.inputs[1])
        return {int(axis) % rank for axis in held.reshape(-1)} if held is not None else set()
