"""Exact rewrites that make operators map to the Edge TPU, proven by running the model before and after.

A rewrite changes how an operator is written, never a weight, a scale or a result. One whose results differ in a single
bit is not used.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.loading import quiet
from converters.loading.model import samples_of
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec, quantise

_CONV_VERSIONS = {"int8": 3, "uint8": 1}  # the first that take the type
_PROOFS = 8  # inputs to run: those given first, then random ones


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The model and, in words, what was changed or why nothing was."""

    data: bytes
    notes: tuple[str, ...] = ()


def rewrite(data: bytes, samples: Sequence[Array] = ()) -> Rewritten:
    """Rewrite what can be, if the whole model stays bit-exact on `samples` (real values, one array an input).

    - a batch left open becomes 1, and a RESHAPE whose shape is computed from static shapes gets it as a constant;
    - a dense layer on more than one row becomes a 1x1 convolution between reshapes.
    """
    edited = _Edit(flatgraph.read(data))
    notes = [*_fix_batch(edited), *_fix_reshapes(edited), *_convolve_dense(edited)]
    if not notes:
        return Rewritten(data)
    changed = flatgraph.pack(edited.source)
    count = _equal_runs(data, changed, samples)
    if count is None:
        return Rewritten(data, (f"left as it was, its results would change: {', '.join(notes)}",))
    return Rewritten(changed, tuple(f"{note}; bit-exact on {count} inputs" for note in notes))


class _Edit:
    """A private copy of a parsed file that can be changed; `graph` is what it was."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.schema = flatgraph.schema()
        self.source = copy.copy(graph.source)
        self.source.buffers = list(self.source.buffers)
        self.source.operatorCodes = list(self.source.operatorCodes)
        self.subgraph = copy.copy(graph.source.subgraphs[0])
        self.subgraph.tensors = [copy.copy(tensor) for tensor in self.subgraph.tensors]
        self.subgraph.operators = [copy.copy(operator) for operator in self.subgraph.operators or []]
        self.source.subgraphs = [self.subgraph, *self.source.subgraphs[1:]]

    def tensor(self, like: int, name: str, shape: Sequence[int]) -> int:
        """A tensor like another one, quantisation and data included, under a name and shape of its own."""
        made = copy.copy(self.subgraph.tensors[like])
        made.name, made.shape, made.shapeSignature = name.encode(), list(shape), None
        self.subgraph.tensors.append(made)
        return len(self.subgraph.tensors) - 1

    def constant(self, name: str, array: Array, quantisation: Any = None) -> int:
        """A new int32 constant."""
        buffer, made = self.schema.BufferT(), self.schema.TensorT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array, np.int32).tobytes(), np.uint8)
        self.source.buffers.append(buffer)
        made.name, made.shape, made.type = name.encode(), list(array.shape), self.schema.TensorType.INT32
        made.buffer, made.quantization = len(self.source.buffers) - 1, quantisation
        self.subgraph.tensors.append(made)
        return len(self.subgraph.tensors) - 1

    def operator(self, name: str, version: int, inputs: Sequence[int], output: int, options: Any = None) -> Any:
        """A new operator, not yet among the others."""
        code, made = self.schema.OperatorCodeT(), self.schema.OperatorT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = code.builtinCode, version
        self.source.operatorCodes.append(code)
        made.opcodeIndex, made.inputs, made.outputs = len(self.source.operatorCodes) - 1, list(inputs), [output]
        if options is not None:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            made.builtinOptions = options
        return made

    def reshape(self, source: int, output: int) -> Any:
        tensor = self.subgraph.tensors[output]
        shape = self.constant(f"{tensor.name.decode()}/shape", np.asarray(tensor.shape))
        return self.operator("RESHAPE", 1, (source, shape), output)


def _fix_batch(edited: _Edit) -> list[str]:
    """Shapes that were open at conversion are stored as 1 beside the mark that they are open."""
    marked = [tensor for tensor in edited.subgraph.tensors if tensor.shapeSignature is not None]
    was_open = any(extent < 0 for tensor in marked for extent in tensor.shapeSignature)
    for tensor in marked:
        tensor.shapeSignature = None
    return ["the batch, which was open, is 1"] if was_open else []


def _fix_reshapes(edited: _Edit) -> list[str]:
    graph, notes = edited.graph, []
    for operator in graph.operators:
        is_open = operator.name == "RESHAPE" and len(operator.inputs) > 1
        if is_open and not graph.tensors[operator.inputs[1]].is_constant:
            shape = graph.tensors[operator.outputs[0]].shape
            name = f"{graph.tensors[operator.outputs[0]].name}/shape"
            edited.subgraph.operators[operator.index].inputs = [
                operator.inputs[0],
                edited.constant(name, np.asarray(shape)),
            ]
            notes.append(f"operator {operator.index} (RESHAPE) has its shape {_extents(shape)} as a constant")
    if notes:
        _remove_unused(edited)
    return notes


def _remove_unused(edited: _Edit) -> None:
    """Operators whose outputs nobody needs any more, from the last to the first."""
    needed = {int(index) for index in edited.subgraph.outputs}
    kept = []
    for operator in reversed(edited.subgraph.operators):
        if needed.intersection(int(index) for index in operator.outputs):
            needed.update(int(index) for index in operator.inputs)
            kept.append(operator)
    edited.subgraph.operators = kept[::-1]


def _convolve_dense(edited: _Edit) -> list[str]:
    before = list(edited.subgraph.operators)
    by_output = {operator.outputs[0]: operator for operator in edited.graph.operators if operator.outputs}
    notes: list[str] = []
    edited.subgraph.operators = []
    for part in before:
        operator = by_output.get(int(part.outputs[0]))
        if operator is not None and _is_dense_on_rows(edited.graph, operator):
            edited.subgraph.operators += _convolution(edited, operator)
            shape = _extents(edited.graph.tensors[operator.inputs[0]].shape)
            notes.append(f"operator {operator.index} (FULLY_CONNECTED on {shape}) is a 1x1 CONV_2D")
        else:
            edited.subgraph.operators.append(part)
    return notes


def _is_dense_on_rows(graph: Graph, operator: Operator) -> bool:
    """Of the dense operators, those that the compiler refuses for their rows and that a convolution can do."""
    if operator.name != "FULLY_CONNECTED":
        return False
    data, weights = (graph.tensors[index] for index in operator.inputs[:2])
    options = flatgraph.options(graph, operator)
    rows = math.prod(graph.tensors[operator.outputs[0]].shape[:-1])
    return (
        data.type_name in _CONV_VERSIONS
        and weights.is_constant
        and weights.type_name == data.type_name
        and not options.weightsFormat
        and (rows > 1 or bool(options.keepNumDims))
        and rows * weights.shape[-1] == math.prod(data.shape)
    )


def _convolution(edited: _Edit, operator: Operator) -> list[Any]:
    """Rows become the width of a picture one pixel high; a picture stays as it is."""
    graph = edited.graph
    source, weights, output = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    units, features = graph.tensors[weights].shape
    rows, name = math.prod(graph.tensors[output].shape[:-1]), graph.tensors[output].name
    is_picture = len(graph.tensors[source].shape) == 4 and graph.tensors[source].shape[0] == 1
    filters = edited.tensor(weights, f"{graph.tensors[weights].name}/1x1", (units, 1, 1, features))
    options = edited.schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = edited.schema.Padding.VALID, 1, 1
    options.fusedActivationFunction = flatgraph.options(graph, operator).fusedActivationFunction
    version = _CONV_VERSIONS[graph.tensors[source].type_name]
    bias = operator.inputs[2] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else _no_bias(edited, operator)
    if is_picture:
        return [edited.operator("CONV_2D", version, (source, filters, bias), output, options)]
    picture = edited.tensor(source, f"{name}/rows", (1, 1, rows, features))
    convolved = edited.tensor(output, f"{name}/convolved", (1, 1, rows, units))
    return [
        edited.reshape(source, picture),
        edited.operator("CONV_2D", version, (picture, filters, bias), convolved, options),
        edited.reshape(convolved, output),
    ]


def _no_bias(edited: _Edit, operator: Operator) -> int:
    """Converters leave out a dense layer's bias of zeros, never a convolution's."""
    data, weights = (edited.subgraph.tensors[index] for index in operator.inputs[:2])
    quantisation = copy.copy(weights.quantization)
    quantisation.scale = np.asarray(weights.quantization.scale, np.float32) * np.float32(data.quantization.scale[0])
    quantisation.zeroPoint = np.zeros(len(quantisation.scale), np.int64)
    name = f"{edited.graph.tensors[operator.outputs[0]].name}/bias"
    return edited.constant(name, np.zeros(int(weights.shape[0]), np.int32), quantisation)


def _equal_runs(before: bytes, after: bytes, samples: Sequence[Array]) -> int | None:
    """How many inputs gave the same bits; None as soon as one does not, or if a tensor is not what the file says."""
    graph = flatgraph.read(after)
    with (
        quiet.silenced(),
        Interpreter(before) as old,
        Interpreter(after, keeps_intermediates=True) as new,
    ):
        inputs = _inputs(new.inputs, samples)
        for arrays in inputs:
            expected, found = old.run(*arrays), new.run(*arrays)
            if any(not np.array_equal(*pair) for pair in zip(expected, found, strict=True)):
                return None
        for operator in graph.operators:
            for index in operator.outputs:
                if graph.tensors[index].spec and new.tensor(index).shape != graph.tensors[index].shape:
                    return None
    return len(inputs)


def _inputs(specs: Sequence[TensorSpec], samples: Sequence[Array]) -> list[tuple[Array, ...]]:
    rng = np.random.default_rng(0)
    real = samples_of([array[: _PROOFS // 2] for array in samples]) if samples else []
    given = [
        tuple(quantise(array, spec).reshape(spec.shape) for array, spec in zip(sample, specs, strict=True))
        for sample in real
    ]
    return given + [tuple(_random(rng, spec) for spec in specs) for _ in range(_PROOFS - len(given))]


def _random(rng: np.random.Generator, spec: TensorSpec) -> Array:
    limits = np.iinfo(spec.dtype)
    return rng.integers(limits.min, limits.max, spec.shape, spec.dtype, endpoint=True)


def _extents(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
