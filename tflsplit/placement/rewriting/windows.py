"""Operators that slide a window over rows and columns: convolutions, pools, and transposed convolutions.

The receptive field goes backwards through the window; what of it lies outside the tensor becomes explicit padding. A
pool counts no padding, so its part computes rows and columns besides, at which its own padding falls in step with the
whole one's, and leaves them out again.
"""

from functools import cached_property
from typing import Any

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box, Interval
from tflsplit.placement.rewriting.building import Building
from tflsplit.values.classes import dataclass

_SAME, VALID = 0, 1  # schema.fbs, enum Padding
_ROWS, _COLUMNS, _CHANNELS = 1, 2, 3


@dataclass(frozen=True, slots=True)
class _Axis:
    """Rows or columns: extents of input and output, the window's reach, its step, and the padding before the input."""

    extent: int
    made: int
    reach: int
    step: int
    before: int

    def needed(self, made: Interval) -> Interval:
        start, stop = self._unclipped(made)
        return max(0, start), min(self.extent, stop)

    def padding(self, made: Interval) -> tuple[int, int]:
        start, stop = self._unclipped(made)
        return max(0, -start), max(0, stop - self.extent)

    def _unclipped(self, made: Interval) -> Interval:
        first = made[0] * self.step - self.before
        return first, first + (made[1] - made[0] - 1) * self.step + self.reach


def _axes(graph: Graph, operator: Operator, window: tuple[int, int]) -> tuple[_Axis, _Axis]:
    """`window` is what it reaches over in rows and columns, dilation included."""
    parameters = flatgraph.options(graph, operator)
    source, target = graph.tensors[operator.inputs[0]].shape, graph.tensors[operator.outputs[0]].shape
    found = []
    for axis, reach, step in ((_ROWS, window[0], parameters.strideH), (_COLUMNS, window[1], parameters.strideW)):
        extent, made = source[axis], target[axis]
        missing = max(0, (made - 1) * step + reach - extent) if parameters.padding == _SAME else 0
        found.append(_Axis(extent, made, reach, step, missing // 2))
    return found[0], found[1]


@dataclass(frozen=True)
class Convolution:
    """CONV_2D, and DEPTHWISE_CONV_2D of one filter a channel or of one channel."""

    graph: Graph
    operator: Operator

    @property
    def _is_depthwise(self) -> bool:
        return self.operator.name == "DEPTHWISE_CONV_2D"

    def widened(self, made: Box) -> Box:
        if self._is_divisible:
            return made
        return boxes.replaced(made, _CHANNELS, (0, self.graph.tensors[self.operator.outputs[0]].shape[_CHANNELS]))

    def needs(self, made: Box) -> dict[int, Box]:
        rows, columns = self._window
        source = self.operator.inputs[0]
        channels: Interval = (0, self.graph.tensors[source].shape[_CHANNELS])
        if self._is_depthwise and self._is_divisible and channels[1] > 1:
            channels = made[_CHANNELS]
        return {source: (made[0], rows.needed(made[_ROWS]), columns.needed(made[_COLUMNS]), channels)}

    def padding(self, made: Box) -> list[Interval]:
        """What of the windows lies outside the input, before and after it on each axis."""
        rows, columns = self._window
        return [(0, 0), rows.padding(made[_ROWS]), columns.padding(made[_COLUMNS]), (0, 0)]

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        features = building.pad(source, building.take(source, box), self.padding(made))
        _, weights, *bias = self.operator.inputs
        shape, channels = self.graph.tensors[weights].shape, made[_CHANNELS]
        axis = len(shape) - 1 if self._is_depthwise else 0
        inputs = [features, building.take(weights, boxes.replaced(boxes.whole(shape), axis, channels))]
        inputs += [building.take(index, (channels,)) for index in bias]
        changed: dict[str, Any] = {"padding": VALID}
        if self._is_depthwise:
            changed["depthMultiplier"] = (channels[1] - channels[0]) // boxes.shape(box)[_CHANNELS]
        building.make(self.operator, inputs, made, **changed)

    def macs(self, made: Box) -> int:
        _, height, width, depth = self.graph.tensors[self.operator.inputs[1]].shape
        return boxes.volume(made) * height * width * (1 if self._is_depthwise else depth)

    @cached_property
    def _is_divisible(self) -> bool:
        """Whether output channels can be computed apart."""
        source = self.graph.tensors[self.operator.inputs[0]].shape[_CHANNELS]
        weights = self.graph.tensors[self.operator.inputs[1]]
        if not weights.is_constant:
            return False
        if self._is_depthwise:
            return source in (1, weights.shape[_CHANNELS])
        return source == weights.shape[_CHANNELS]  # else in groups

    @cached_property
    def _window(self) -> tuple[_Axis, _Axis]:
        parameters = flatgraph.options(self.graph, self.operator)
        _, height, width, _ = self.graph.tensors[self.operator.inputs[1]].shape
        reach = ((height - 1) * parameters.dilationHFactor + 1, (width - 1) * parameters.dilationWFactor + 1)
        return _axes(self.graph, self.operator, reach)


@dataclass(frozen=True)
class Pool:
    """AVERAGE_POOL_2D and MAX_POOL_2D."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        return made

    def needs(self, made: Box) -> dict[int, Box]:
        rows, columns = (self._stretch(axis, made[place])[0] for place, axis in self._window)
        return {self.operator.inputs[0]: (made[0], rows, columns, made[_CHANNELS])}

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        spoilt = [self._stretch(axis, made[place])[1] for place, axis in self._window]
        extents = [self._made_of(axis, box[place]) for place, axis in self._window]
        target = self.operator.outputs[0]
        batch, _, _, channels = boxes.shape(made)
        result = building.like(target, (batch, *extents, channels))
        building.repeat(self.operator, [building.take(source, box)], result)
        kept = tuple(
            (first, first + made[place][1] - made[place][0])
            for (place, _), first in zip(self._window, spoilt, strict=True)
        )
        part: Box = ((0, batch), *kept, (0, channels))
        if boxes.shape(part) != (batch, *extents, channels):
            result = building.cut_out(target, result, part)
        building.hold(target, made, result)

    def macs(self, made: Box) -> int:
        return 0

    @cached_property
    def _window(self) -> tuple[tuple[int, _Axis], tuple[int, _Axis]]:
        parameters = flatgraph.options(self.graph, self.operator)
        rows, columns = _axes(self.graph, self.operator, (parameters.filterHeight, parameters.filterWidth))
        return (_ROWS, rows), (_COLUMNS, columns)

    @cached_property
    def _is_same(self) -> bool:
        return bool(flatgraph.options(self.graph, self.operator).padding == _SAME)

    def _made_of(self, axis: _Axis, part: Interval) -> int:
        extent = part[1] - part[0]
        return -(-extent // axis.step) if self._is_same else (extent - axis.reach) // axis.step + 1

    def _stretch(self, axis: _Axis, made: Interval) -> tuple[Interval, int]:
        """The part of the input to pool by the operator itself, and how many of its results come before `made`."""
        start, stop = axis.needed(made)
        if not self._is_same:
            return (start, stop), 0
        # The fewest rows before and after at which the part's own windows lie where the whole's do. Windows that
        # reach over an edge which is not the whole's count too few, so they must lie outside `made`.
        for more in range(axis.extent + 1):
            for before in range(more + 1):
                low, high = max(0, start - before), min(axis.extent, stop + more - before)
                first = self._first(axis, low, high)
                if first is not None and self._is_sound(axis, made, (low, high), first):
                    return (low, high), made[0] - first
        raise AssertionError("the whole input is always a part that does")

    def _first(self, axis: _Axis, low: int, high: int) -> int | None:
        """Which of the whole's windows is the part's first; None where they are out of step."""
        count = self._made_of(axis, (low, high))
        padding = max(0, (count - 1) * axis.step + axis.reach - (high - low)) // 2
        place = low - padding + axis.before
        return place // axis.step if place % axis.step == 0 else None

    def _is_sound(self, axis: _Axis, made: Interval, part: Interval, first: int) -> bool:
        if not (first <= made[0] and made[1] <= first + self._made_of(axis, part)):
            return False
        start, stop = axis.needed(made)
        return part[0] <= start and stop <= part[1]


@dataclass(frozen=True)
class Transposed:
    """TRANSPOSE_CONV: each input row makes `reach` rows of the output, `step` apart."""

    graph: Graph
    operator: Operator

    def widened(self, made: Box) -> Box:
        # All channels: the runtime's own kernel rounds a part of them otherwise, in some places.
        return boxes.replaced(made, _CHANNELS, (0, self.graph.tensors[self.operator.outputs[0]].shape[_CHANNELS]))

    def needs(self, made: Box) -> dict[int, Box]:
        source = self.operator.inputs[2]
        rows, columns = (axis.sources(made[place]) for place, axis in self._axes)
        return {source: (made[0], rows, columns, (0, self.graph.tensors[source].shape[_CHANNELS]))}

    def build(self, building: Building, made: Box) -> None:
        ((source, box),) = self.needs(made).items()
        _, weights, _, *bias = self.operator.inputs
        channels, batch = made[_CHANNELS], made[0][1] - made[0][0]
        spread = [axis.spread(box[place]) for place, axis in self._axes]
        extents = (batch, *(stop - start for start, stop in spread), channels[1] - channels[0])
        inputs = [building.whole_numbers(extents, "output_shape"), weights, building.take(source, box), *bias]
        target = self.operator.outputs[0]
        result = building.like(target, extents)
        building.repeat(self.operator, inputs, result, padding=VALID)
        held: Box = (made[0], spread[0], spread[1], channels)
        if held != made:
            result = building.cut_out(target, result, boxes.within(made, held))
        building.hold(target, made, result)

    def macs(self, made: Box) -> int:
        parameters = flatgraph.options(self.graph, self.operator)
        _, height, width, depth = self.graph.tensors[self.operator.inputs[1]].shape
        return int(boxes.volume(made) * height * width * depth // (parameters.strideH * parameters.strideW))

    @cached_property
    def _axes(self) -> tuple[tuple[int, "_Spread"], tuple[int, "_Spread"]]:
        parameters = flatgraph.options(self.graph, self.operator)
        source = self.graph.tensors[self.operator.inputs[2]].shape
        target = self.graph.tensors[self.operator.outputs[0]].shape
        filters = self.graph.tensors[self.operator.inputs[1]].shape
        steps = {_ROWS: parameters.strideH, _COLUMNS: parameters.strideW}
        is_same = parameters.padding == _SAME
        rows, columns = (
            _Spread(
                source[place],
                filters[place],
                steps[place],
                max(0, (source[place] - 1) * steps[place] + filters[place] - target[place]) // 2 if is_same else 0,
            )
            for place in (_ROWS, _COLUMNS)
        )
        return (_ROWS, rows), (_COLUMNS, columns)


@dataclass(frozen=True, slots=True)
class _Spread:
    extent: int
    reach: int
    step: int
    before: int

    def sources(self, made: Interval) -> Interval:
        first = -(-(made[0] + self.before - self.reach + 1) // self.step)
        last = (made[1] - 1 + self.before) // self.step
        start, stop = max(0, first), min(self.extent, last + 1)
        # Where the window is narrower than its step, rows between two windows hold the bias alone.
        return (start, stop) if start < stop else (min(start, self.extent - 1), min(start, self.extent - 1) + 1)

    def spread(self, sources: Interval) -> Interval:
        """The rows of the whole output that these make, on their own, without its padding."""
        first = sources[0] * self.step - self.before
        return first, first + (sources[1] - sources[0] - 1) * self.step + self.reach
