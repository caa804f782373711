"""Operators that move elements and compute nothing: joining, padding, reshaping, repeating, resizing, and blocks."""

import math

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box, Interval
from tflsplit.placement.rewriting.building import Building
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Joined:
    """CONCATENATION."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        return made

    def needs(self, made: Box) -> dict[int, Box]:
        found: dict[int, Box] = {}
        for tensor, box in self._parts(made):
            if not self.graph.tensors[tensor].is_constant:
                found[tensor] = boxes.hull([box, *([found[tensor]] if tensor in found else [])])
        return found

    def build(self, building: Building, made: Box) -> None:
        building.make(self.operator, [building.take(*part) for part in self._parts(made)], made)

    def macs(self, made: Box) -> int:
        return 0

    def _parts(self, made: Box) -> list[tuple[int, Box]]:
        axis = flatgraph.options(self.graph, self.operator).axis % len(made)
        found, begun = [], 0
        for tensor in self.operator.inputs:
            extent = self.graph.tensors[tensor].shape[axis]
            start, stop = max(made[axis][0] - begun, 0), min(made[axis][1] - begun, extent)
            if start < stop:
                found.append((tensor, boxes.replaced(made, axis, (start, stop))))
            begun += extent
        return found


@dataclass(frozen=True, slots=True)
class Padded:
    """PAD and PADV2."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        # A part of nothing but padding would need nothing: it takes the nearest element besides.
        found = []
        for (start, stop), (before, _), extent in zip(made, self._amounts, self._source_shape, strict=True):
            found.append((min(start, before + extent - 1), max(stop, before + 1)))
        return tuple(found)

    def needs(self, made: Box) -> dict[int, Box]:
        return {
            self.operator.inputs[0]: tuple(
                (max(0, start - before), min(extent, stop - before))
                for (start, stop), (before, _), extent in zip(made, self._amounts, self._source_shape, strict=True)
            )
        }

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        amounts = [
            (max(0, before - start), max(0, stop - before - extent))
            for (start, stop), (before, _), extent in zip(made, self._amounts, self._source_shape, strict=True)
        ]
        features = building.take(source, box)
        if any(map(any, amounts)):
            paddings = building.edit.constant("paddings", np.array(amounts, np.int32))
            building.make(self.operator, [features, paddings, *self.operator.inputs[2:]], made)
        else:
            building.hold(self.operator.outputs[0], made, features)

    def macs(self, made: Box) -> int:
        return 0

    @property
    def _amounts(self) -> list[tuple[int, int]]:
        held = flatgraph.constant(self.graph, self.operator.inputs[1])
        return [(int(before), int(after)) for before, after in held] if held is not None else []

    @property
    def _source_shape(self) -> tuple[int, ...]:
        return self.graph.tensors[self.operator.inputs[0]].shape


@dataclass(frozen=True, slots=True)
class Reshaped:
    """RESHAPE and its like. Rows (the second dimension) are told apart where they stay together in memory; where only
    dimensions of one element come or go, so are all others."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        if self._is_renaming:
            return made
        source, target = self._shapes
        if len(target) < 2 or len(source) < 2 or source[0] != 1 or target[0] != 1:
            return boxes.whole(target)
        unit = self._unit // math.prod(target[2:])
        start, stop = made[1]
        return ((0, 1), (start // unit * unit, -(-stop // unit) * unit), *boxes.whole(target[2:]))

    def needs(self, made: Box) -> dict[int, Box]:
        source, target = self._shapes
        index = self.operator.inputs[0]
        if self._is_renaming:
            kept = iter([part for part, extent in zip(made, target, strict=True) if extent != 1])
            return {index: tuple((0, 1) if extent == 1 else next(kept) for extent in source)}
        if made == boxes.whole(target):
            return {index: boxes.whole(source)}
        row, made_row = math.prod(source[2:]), math.prod(target[2:])
        rows = (made[1][0] * made_row // row, made[1][1] * made_row // row)
        return {index: ((0, 1), rows, *boxes.whole(source[2:]))}

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        target = self.operator.outputs[0]
        result = building.like(target, boxes.shape(made))
        building.reshape(building.take(source, box), result)
        building.hold(target, made, result)

    def macs(self, made: Box) -> int:
        return 0

    @property
    def _shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        first, last = self.operator.inputs[0], self.operator.outputs[0]
        return self.graph.tensors[first].shape, self.graph.tensors[last].shape

    @property
    def _is_renaming(self) -> bool:
        source, target = self._shapes
        return [extent for extent in source if extent != 1] == [extent for extent in target if extent != 1]

    @property
    def _unit(self) -> int:
        """The fewest elements that are whole rows on both sides."""
        source, target = self._shapes
        return math.lcm(math.prod(source[2:]), math.prod(target[2:]))


@dataclass(frozen=True, slots=True)
class Tiled:
    """TILE: axes that it repeats are not told apart."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        source = self.graph.tensors[self.operator.inputs[0]].shape
        target = self.graph.tensors[self.operator.outputs[0]].shape
        return tuple(
            part if extent == before else (0, extent) for part, extent, before in zip(made, target, source, strict=True)
        )

    def needs(self, made: Box) -> dict[int, Box]:
        source = self.graph.tensors[self.operator.inputs[0]].shape
        target = self.graph.tensors[self.operator.outputs[0]].shape
        return {
            self.operator.inputs[0]: tuple(
                part if extent == before else (0, before)
                for part, extent, before in zip(made, target, source, strict=True)
            )
        }

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        building.make(self.operator, [building.take(source, box), self.operator.inputs[1]], made)

    def macs(self, made: Box) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Resized:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR by whole factors, without aligned corners; `built-in` kernels
    round by the absolute row unless the factor is a power of two, so other factors are told apart for nearest only."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        target = self.graph.tensors[self.operator.outputs[0]].shape
        return tuple(
            (0, target[axis]) if axis in (1, 2) and not self._factor(axis) else part for axis, part in enumerate(made)
        )

    def needs(self, made: Box) -> dict[int, Box]:
        return {self.operator.inputs[0]: (made[0], self._sources(1, made[1]), self._sources(2, made[2]), made[3])}

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        spread = [self._spread(axis, box[axis]) for axis in (1, 2)]
        held: Box = (made[0], spread[0], spread[1], made[3])
        target = self.operator.outputs[0]
        result = building.like(target, boxes.shape(held))
        size = building.whole_numbers(boxes.shape(held)[1:3], "size")
        building.repeat(self.operator, [building.take(source, box), size], result)
        if held != made:
            result = building.cut_out(target, result, boxes.within(made, held))
        building.hold(target, made, result)

    def macs(self, made: Box) -> int:
        return 0

    def _factor(self, axis: int) -> int:
        """By what an axis grows; 0 where parts of it cannot be told apart."""
        source = self.graph.tensors[self.operator.inputs[0]].shape[axis]
        target = self.graph.tensors[self.operator.outputs[0]].shape[axis]
        if target % source or flatgraph.options(self.graph, self.operator).alignCorners:
            return 0
        factor = target // source
        is_nearest = self.operator.name == "RESIZE_NEAREST_NEIGHBOR"
        return factor if is_nearest or factor & (factor - 1) == 0 else 0

    def _sources(self, axis: int, made: Interval) -> Interval:
        extent, factor = self.graph.tensors[self.operator.inputs[0]].shape[axis], self._factor(axis)
        if not factor:
            return 0, extent
        more = 0 if self.operator.name == "RESIZE_NEAREST_NEIGHBOR" else 1
        return max(0, made[0] // factor - more), min(extent, -(-made[1] // factor) + more)

    def _spread(self, axis: int, sources: Interval) -> Interval:
        factor = self._factor(axis)
        if not factor:
            return 0, self.graph.tensors[self.operator.outputs[0]].shape[axis]
        return sources[0] * factor, sources[1] * factor


@dataclass(frozen=True, slots=True)
class Blocks:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH: pixels told apart by blocks, channels not at all."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        target = self.graph.tensors[self.operator.outputs[0]].shape
        size = self._size if self.operator.name == "DEPTH_TO_SPACE" else 1
        rows, columns = ((start // size * size, -(-stop // size) * size) for start, stop in made[1:3])
        return (made[0], rows, columns, (0, target[3]))

    def needs(self, made: Box) -> dict[int, Box]:
        source, size = self.operator.inputs[0], self._size
        if self.operator.name == "DEPTH_TO_SPACE":
            rows, columns = ((start // size, stop // size) for start, stop in made[1:3])
        else:
            rows, columns = ((start * size, stop * size) for start, stop in made[1:3])
        return {source: (made[0], rows, columns, (0, self.graph.tensors[source].shape[3]))}

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        building.make(self.operator, [building.take(source, box)], made)

    def macs(self, made: Box) -> int:
        return 0

    @property
    def _size(self) -> int:
        return int(flatgraph.options(self.graph, self.operator).blockSize)
