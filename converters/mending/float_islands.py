"""Operators that LiteRT's quantizer leaves in float between integers, written in int8.

It knows some fifty kinds and puts DEQUANTIZE and QUANTIZE around all others, whether they compute (PRELU, ELU) or only
move values (SPACE_TO_BATCH_ND of every dilated convolution, TILE of an upsampling). Each is tried alone: as it was left
and in int8, on random integers. What only moves or compares must give the same, what computes may be one step off,
which is what rounding its result costs anyway.
"""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from converters.loading import quiet
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import CODE_OF_DTYPE, Array, TensorSpec, quantise
from tflsplit.package import verify
from tflsplit.values.classes import dataclass

Ranges = Callable[[Collection[str]], Mapping[str, tuple[float, float]]]

_MOVES = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "BROADCAST_TO",
        "DEPTH_TO_SPACE",
        "GATHER",
        "REVERSE_SEQUENCE",
        "REVERSE_V2",
        "SCATTER_ND",
        "SPACE_TO_BATCH_ND",
        "SPACE_TO_DEPTH",
        "SPLIT_V",
        "TILE",
        "TOPK_V2",
    }
)
# Their values are those of their inputs, which have to be in one scale.
_CHOOSES = frozenset({"REDUCE_MAX", "REDUCE_MIN", "MAXIMUM", "MINIMUM"})
_FIXED = {"LOG_SOFTMAX": (16 / 256, 127), "L2_NORMALIZATION": (1 / 128, 0)}  # as their kernels take for granted
_VERSION = 2  # of the first that takes int8, for most kinds
_VERSIONS = {"TILE": 3, "REVERSE_V2": 3, "LEAKY_RELU": 2, "PRELU": 1, "ELU": 1, "RELU_N1_TO_1": 1, "SCATTER_ND": 1}
_PROOFS = 4
_MOST_UNLIKE = 0.01  # two or three of 256 levels


def in_int8(data: bytes, ranges: Ranges) -> bytes:
    """The model with all of them in int8 for which that is right; the others stay, for the caller to refuse.

    `ranges` gives the least and the greatest value of tensors, by name, over the calibration samples.
    """
    graph = flatgraph.read(data)
    if not any(operator.name == "DEQUANTIZE" for operator in graph.operators):
        return data
    return _Islands(graph, ranges).written()


@dataclass(frozen=True, slots=True)
class _Inputs:
    """An operator's inputs in int8, and what makes some of them first."""

    indices: list[int]
    before: list[Any]


class _Islands:
    def __init__(self, graph: Graph, ranges: Ranges) -> None:
        self._graph, self._ranges, self._edited = graph, ranges, Edit(graph)
        self._stored: dict[int, int] = {}  # which integers stand for a float tensor
        self._same: dict[int, int] = {}  # what takes the place of a tensor that held the same integers
        self._wanted = {one.inputs[0]: one.outputs[0] for one in graph.operators if one.name == "QUANTIZE"}

    def written(self) -> bytes:
        parts, subgraph = self._edited.subgraph.operators, self._edited.subgraph
        made: list[Any] = []
        in_float: set[int] = set()  # what is made in float after all
        for operator, part in zip(self._graph.operators, parts, strict=True):
            made += self._kept(operator, part, in_float)
        ends = [self._place(self._stored.get(index, index)) for index in self._graph.outputs]
        subgraph.operators, subgraph.outputs = _needed(made, ends), ends
        whole = flatgraph.read(flatgraph.pack(self._edited.source))
        return flatgraph.select(whole, range(len(whole.operators)), whole.inputs, whole.outputs)

    def _kept(self, operator: Operator, part: Any, in_float: set[int]) -> list[Any]:
        """What stands in the operator's place."""
        source = self._place(operator.inputs[0]) if operator.inputs else -1
        if operator.name == "DEQUANTIZE" and self._is_int8(source):
            self._stored[operator.outputs[0]] = source
            in_float.add(operator.outputs[0])
            part.inputs = [source]
            return [part]
        if operator.name == "QUANTIZE" and source in self._stored:
            return self._requantised(self._stored[source], operator.outputs[0])
        is_float = any(self._graph.tensors[index].type_name == "float32" for index in operator.outputs)
        is_beside = is_float and operator.name != "DEQUANTIZE" and self._integers(operator)
        is_left = is_beside or any(index in self._stored for index in operator.inputs)
        if is_left and (found := self._tried(operator)) is not None:
            return found
        lacking = [index for index in operator.inputs if index in self._stored and index not in in_float]
        in_float.update(lacking)
        part.inputs = [self._place(index) for index in operator.inputs]
        return [*(self._edited.operator("DEQUANTIZE", 2, (self._stored[index],), index) for index in lacking), part]

    def _integers(self, operator: Operator) -> dict[int, int]:
        """The integers behind each of its inputs that has some. The quantizer puts them, too, where a kernel would want
        float."""
        found = {index: self._stored.get(index, self._place(index)) for index in operator.inputs if index >= 0}
        return {
            old: new
            for old, new in found.items()
            if self._is_int8(new) and (old in self._stored or self._graph.tensors[old].is_computed)
        }

    def _place(self, index: int) -> int:
        return self._same.get(index, index)

    def _is_int8(self, index: int) -> bool:
        tensor = self._edited.subgraph.tensors[index]
        return bool(tensor.type == CODE_OF_DTYPE["int8"]) and _scale(tensor.quantization) is not None

    def _requantised(self, stored: int, output: int) -> list[Any]:
        tensors = self._edited.subgraph.tensors
        if _scale(tensors[stored].quantization) == _scale(tensors[output].quantization):
            self._same[output] = stored
            return []
        return [self._edited.operator("QUANTIZE", 2, (stored,), output)]

    def _tried(self, operator: Operator) -> list[Any] | None:
        """The operator in int8, if it is the same there."""
        inputs = self._inputs(operator)
        if inputs is None:
            return None
        outputs = [self._output(operator, index, inputs) for index in operator.outputs]
        if None in outputs:
            return None
        made = [index for index in outputs if index is not None]
        part = copy.copy(self._edited.subgraph.operators[operator.index])
        part.inputs, part.outputs = inputs.indices, made
        code = copy.copy(self._edited.source.operatorCodes[part.opcodeIndex])
        code.version = max(int(code.version), _VERSIONS.get(operator.name, _VERSION))
        self._edited.source.operatorCodes.append(code)
        part.opcodeIndex = len(self._edited.source.operatorCodes) - 1
        if not self._is_right(operator, [*inputs.before, part], made):
            return None
        self._stored.update((old, new) for old, new in zip(operator.outputs, made, strict=True) if old != new)
        return [*inputs.before, part]

    def _inputs(self, operator: Operator) -> _Inputs | None:
        """None where one is computed in float, or a constant cannot be stored."""
        one_scale = self._common(operator) if operator.name in _CHOOSES else None
        made, integers = _Inputs([], []), self._integers(operator)
        for place, index in enumerate(operator.inputs):
            new = integers.get(index, self._place(index))
            if index in integers:
                if one_scale is not None and _scale(self._quantisation(new)) != _scale(one_scale):
                    rescaled = self._tensor(
                        f"{self._graph.tensors[index].name}/{operator.index}/{place}", new, one_scale
                    )
                    made.before.append(self._edited.operator("QUANTIZE", 2, (new,), rescaled))
                    new = rescaled
            elif index >= 0 and self._graph.tensors[index].type_name == "float32":
                held = flatgraph.constant(self._graph, index)
                if held is None:
                    return None
                new = self._constant(f"{self._graph.tensors[index].name}/{operator.index}/int8", held, one_scale)
            made.indices.append(new)
        return made

    def _common(self, operator: Operator) -> Any:
        """A scale in which all that is computed can be held."""
        given = [self._quantisation(new) for new in self._integers(operator).values()]
        if len({_scale(one) for one in given}) == 1:
            return given[0]
        held = [_extent(one) for one in given]
        return self._quantised(min(low for low, _ in held), max(high for _, high in held))

    def _output(self, operator: Operator, index: int, inputs: _Inputs) -> int | None:
        if self._graph.tensors[index].type_name != "float32":
            return index
        quantisation = self._quantisation(inputs.indices[_values(operator)])
        if operator.name in _FIXED:
            quantisation = self._of(*_FIXED[operator.name])
        elif operator.name not in _MOVES | _CHOOSES:
            quantisation = self._calibrated(index)
        if quantisation is None:
            return None
        made = self._edited.tensor_like(index, self._graph.tensors[index].name, self._graph.tensors[index].shape)
        tensor = self._edited.subgraph.tensors[made]
        tensor.type, tensor.quantization = CODE_OF_DTYPE["int8"], quantisation
        return made

    def _calibrated(self, index: int) -> Any:
        """That of the integers it becomes, or by the values that it took on."""
        if index in self._wanted:
            return self._quantisation(self._wanted[index])
        name = self._graph.tensors[index].name
        low, high = self._ranges((name,)).get(name, (0.0, 0.0))
        return self._quantised(low, high) if low < high else None

    def _quantisation(self, index: int) -> Any:
        return self._edited.subgraph.tensors[index].quantization

    def _quantised(self, low: float, high: float) -> Any:
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        return self._of(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))

    def _of(self, scale: float, zero_point: int) -> Any:
        made = self._edited.schema.QuantizationParametersT()
        made.scale, made.zeroPoint = np.full(1, scale, np.float32), np.full(1, zero_point, np.int64)
        return made

    def _constant(self, name: str, held: Array, quantisation: Any) -> int:
        chosen = quantisation or self._quantised(float(held.min(initial=0)), float(held.max(initial=0)))
        spec = _spec_of(name, held.shape, chosen)
        return self._edited.constant(name, quantise(held, spec).reshape(held.shape), chosen)

    def _tensor(self, name: str, like: int, quantisation: Any) -> int:
        """Of the same shape, in float without a quantisation."""
        kind = CODE_OF_DTYPE["float32" if quantisation is None else "int8"]
        return self._edited.tensor(name, self._edited.subgraph.tensors[like].shape, kind, quantisation=quantisation)

    def _is_right(self, operator: Operator, parts: Sequence[Any], outputs: Sequence[int]) -> bool:
        """Both forms as models of their own on the same random integers."""
        integers = self._integers(operator)
        given = sorted({*integers.values(), *(index for index in operator.inputs if self._is_other(index, integers))})
        real = {index: self._tensor(f"{index}/real", new, None) for index, new in integers.items()}
        in_float = [self._edited.operator("DEQUANTIZE", 2, (integers[index],), made) for index, made in real.items()]
        part = copy.copy(self._edited.subgraph.operators[operator.index])
        part.inputs = [real.get(index, self._place(index)) for index in operator.inputs]
        in_float.append(part)
        found = []
        for old, new in zip(operator.outputs, outputs, strict=True):
            found.append(old if old == new else self._tensor(f"{old}/proof", new, self._quantisation(new)))
            if old != new:
                in_float.append(self._edited.operator("QUANTIZE", 1, (old,), found[-1]))
        steps = 0 if operator.name in _MOVES | _CHOOSES - {"MAXIMUM", "MINIMUM"} else 1
        try:
            before, after = self._alone(in_float, given, found), self._alone(parts, given, outputs)
            with quiet.silenced(), Interpreter(before) as old_form, Interpreter(after) as new_form:
                return all(
                    _is_near(expected, computed, steps)
                    for sample in verify.random_samples(new_form.inputs, _PROOFS)
                    for expected, computed in zip(old_form.run(*sample), new_form.run(*sample), strict=True)
                )
        except (errors.ModelError, errors.DeviceError):
            return False

    def _is_other(self, index: int, integers: Collection[int]) -> bool:
        """Computed, and no integers that stand for real values: a mask, places."""
        return index >= 0 and index not in integers and self._graph.tensors[index].is_computed

    def _alone(self, parts: Sequence[Any], inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        source, subgraph = copy.copy(self._edited.source), copy.copy(self._edited.subgraph)
        source.subgraphs, subgraph.operators = [subgraph], list(parts)
        return flatgraph.select(Graph((), (), (), (), source), range(len(parts)), inputs, outputs)


def _needed(parts: Sequence[Any], outputs: Collection[int]) -> list[Any]:
    """Operators whose results go into others or out of the model."""
    used, kept = set(outputs), []
    for part in reversed(parts):
        if used.intersection(int(index) for index in part.outputs):
            used.update(int(index) for index in part.inputs)
            kept.append(part)
    return kept[::-1]


def _values(operator: Operator) -> int:
    """The place of the input that values are taken from."""
    return 1 if operator.name == "SCATTER_ND" else 0


def _scale(quantisation: Any) -> tuple[float, int] | None:
    if quantisation is None or quantisation.scale is None or len(quantisation.scale) != 1:
        return None
    return float(quantisation.scale[0]), int(quantisation.zeroPoint[0])


def _extent(quantisation: Any) -> tuple[float, float]:
    scale, zero_point = _scale(quantisation) or (0.0, 0)
    return scale * (-128 - zero_point), scale * (127 - zero_point)


def _spec_of(name: str, shape: Sequence[int], quantisation: Any) -> TensorSpec:
    scale, zero_point = _scale(quantisation) or (0.0, 0)
    return TensorSpec(name, tuple(shape), "int8", scale, zero_point)


def _is_near(expected: Array, found: Array, steps: int) -> bool:
    if expected.dtype != np.int8:
        is_compared = expected.dtype == np.bool_  # by a kernel that rounds what is nearly equal otherwise
        return bool(np.mean(expected != found) <= (_MOST_UNLIKE if is_compared else 0))
    return bool(np.abs(expected.astype(np.int16) - found).max(initial=0) <= steps)
