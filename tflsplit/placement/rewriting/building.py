"""A small model under construction: some operators of a graph, each making a part of its tensor."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import CODE_OF_DTYPE, Array
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.values.classes import replace

_SLICE_VERSION = {"int8": 2, "int16": 4, "uint8": 1}
_PAD_VERSION = {"int8": 2, "int16": 2, "uint8": 1}


class Building:
    """Tensors are named by their index in the graph; what is returned are indices in the model that is made."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.edit = Edit(graph)
        self.edit.subgraph.operators = []
        self._held: dict[int, tuple[Box, int]] = {}

    def receive(self, tensor: int, box: Box) -> int:
        """A part that comes from outside."""
        made = self.like(tensor, boxes.shape(box))
        self._held[tensor] = (box, made)
        return made

    def hold(self, tensor: int, box: Box, made: int) -> None:
        """A part that an operator made."""
        self._held[tensor] = (box, made)

    def take(self, tensor: int, box: Box) -> int:
        """A part of a tensor that is held, or of a constant, cut out where it is not held as it is; weights and biases
        with the scales and zero points of their channels. -1, an optional input left out, stays that."""
        if tensor < 0:
            return tensor
        if self.graph.tensors[tensor].is_constant:
            return self._constant(tensor, box)
        held, made = self._held[tensor]
        return made if held == box else self.cut_out(tensor, made, boxes.within(box, held))

    def cut_out(self, tensor: int, made: int, box: Box) -> int:
        """A part of a tensor of the new model, which is like `tensor`; indices count from where that one begins."""
        start = np.array([first for first, _ in box], np.int32)
        size = np.array(boxes.shape(box), np.int32)
        part = self.like(tensor, boxes.shape(box))
        inputs = [made, self.edit.constant("start", start), self.edit.constant("size", size)]
        version = _SLICE_VERSION.get(self.graph.tensors[tensor].type_name, 1)
        self._append(self.edit.operator("SLICE", version, inputs, part, self.edit.schema.SliceOptionsT()))
        return part

    def make(self, operator: Operator, inputs: list[int], made: Box, **changed: Any) -> None:
        """A part of the one output of an operator of the graph, by the operator itself; options as in `repeat`."""
        (target,) = operator.outputs
        result = self.like(target, boxes.shape(made))
        self.repeat(operator, inputs, result, **changed)
        self.hold(target, made, result)

    def pad(self, tensor: int, made: int, amounts: list[tuple[int, int]]) -> int:
        """With so many elements of the zero point before and after it on each axis."""
        if not any(before or after for before, after in amounts):
            return made
        shape = [extent + sum(pair) for extent, pair in zip(self.extents(made), amounts, strict=True)]
        padded = self.like(tensor, shape)
        inputs = [made, self.edit.constant("paddings", np.array(amounts, np.int32))]
        version = _PAD_VERSION.get(self.graph.tensors[tensor].type_name, 1)
        self._append(self.edit.operator("PAD", version, inputs, padded, self.edit.schema.PadOptionsT()))
        return padded

    def like(self, tensor: int, shape: "tuple[int, ...] | list[int]") -> int:
        """A new tensor of another shape, quantised like that one."""
        return self.edit.tensor_like(tensor, self.graph.tensors[tensor].name, shape)

    def fresh(self, name: str, shape: Sequence[int], dtype: str) -> int:
        """A new tensor that is like none of the graph."""
        return self.edit.tensor(name, shape, CODE_OF_DTYPE[dtype])

    def then(
        self, name: str, inputs: list[int], shape: Sequence[int], dtype: str, options: Any = None, *, version: int = 1
    ) -> int:
        """The result of a new operator."""
        made = self.fresh(name.lower(), shape, dtype)
        self.append(name, inputs, made, options, version=version)
        return made

    def append(self, name: str, inputs: list[int], made: int, options: Any = None, *, version: int = 1) -> None:
        """A new operator that makes a tensor of the new model."""
        self._append(self.edit.operator(name, version, inputs, made, options))

    def extents(self, made: int) -> tuple[int, ...]:
        return tuple(self.edit.subgraph.tensors[made].shape)

    def whole_steps(self, zero: int) -> Any:
        """A quantisation by which a stored value, less the zero point, is what it stands for."""
        found = self.edit.schema.QuantizationParametersT()
        found.scale, found.zeroPoint = [1.0], [zero]
        return found

    def requantise(self, made: int, zero: int) -> None:
        """Gives a tensor of the new model that quantisation; what is stored in it stays."""
        self.edit.subgraph.tensors[made].quantization = self.whole_steps(zero)

    def whole_numbers(self, values: "tuple[int, ...] | list[int]", name: str) -> int:
        return self.edit.constant(name, np.array(values, np.int32))

    def repeat(self, operator: Operator, inputs: list[int], made: int, **changed: Any) -> None:
        """An operator of the graph on other tensors, with some of its options changed."""
        copied = copy.copy(self.graph.source.subgraphs[0].operators[operator.index])
        copied.inputs, copied.outputs = inputs, [made]
        if changed:
            copied.builtinOptions = copy.copy(copied.builtinOptions)
            for field, value in changed.items():
                setattr(copied.builtinOptions, field, value)
        self._append(copied)

    def reshape(self, features: int, made: int) -> None:
        """The elements of one tensor in the shape of another one, both of the new model."""
        options = self.edit.schema.ReshapeOptionsT()
        options.newShape = list(self.edit.subgraph.tensors[made].shape)
        inputs = [features, self.whole_numbers(options.newShape, "shape")]
        self._append(self.edit.operator("RESHAPE", 1, inputs, made, options))

    def as_it_is(self, operator: Operator) -> None:
        """An operator of the graph, with all of its tensors."""
        copied = copy.copy(self.graph.source.subgraphs[0].operators[operator.index])
        copied.inputs = [
            index
            if index < 0 or self.graph.tensors[index].is_variable
            else self.take(index, boxes.whole(self.graph.tensors[index].shape))
            for index in operator.inputs
        ]
        self._append(copied)
        for tensor in operator.outputs:
            self.hold(tensor, boxes.whole(self.graph.tensors[tensor].shape), tensor)

    def packed(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The model from those of its tensors to these."""
        count = len(self.edit.subgraph.operators)
        return flatgraph.select(replace(self.graph, source=self.edit.source), range(count), inputs, outputs)

    def _append(self, operator: Any) -> None:
        self.edit.subgraph.operators.append(operator)

    def _constant(self, tensor: int, box: Box) -> int:
        if box == boxes.whole(self.graph.tensors[tensor].shape):
            return tensor
        held = flatgraph.constant(self.graph, tensor)
        if held is None:
            raise ValueError(f"no part of tensor {self.graph.tensors[tensor].name!r} can be read")
        part: Array = held[boxes.slices(box)]
        quantisation = _of_channels(self.graph.source.subgraphs[0].tensors[tensor].quantization, box)
        return self.edit.constant(self.graph.tensors[tensor].name, part, quantisation)


def _of_channels(quantisation: Any, box: Box) -> Any:
    """Scales and zero points of a part; one scale for all stays as it is."""
    if quantisation is None or quantisation.scale is None or len(quantisation.scale) < 2:
        return quantisation
    changed = copy.copy(quantisation)
    start, stop = box[changed.quantizedDimension]
    changed.scale = changed.scale[start:stop]
    if changed.zeroPoint is not None and len(changed.zeroPoint) > 1:
        changed.zeroPoint = changed.zeroPoint[start:stop]
    for field in ("min", "max"):
        if getattr(changed, field) is not None and len(getattr(changed, field)) > 1:
            setattr(changed, field, getattr(changed, field)[start:stop])
    return changed
