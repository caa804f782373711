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

from converters.edgetpu import limits
from converters.loading import quiet
from converters.loading.model import stored_samples
from tflsplit import text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.package import verify

_CONV_VERSIONS = {"int8": 3, "uint8": 1}  # the first that take the type
_PROOFS = 8  # inputs to run: those given first, then random ones


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The model, and a text for each change or for why there is none."""

    data: bytes
    notes: tuple[str, ...] = ()


def rewrite(data: bytes, samples: Sequence[Array] = ()) -> Rewritten:
    """Rewrite what can be, if the whole model stays bit-exact on `samples` (real values, one array an input).

    - a batch left open becomes 1, and a RESHAPE whose shape is computed from static shapes gets it as a constant;
    - a dense layer on more than one row becomes a 1x1 convolution between reshapes.
    """
    edited = Edit(flatgraph.read(data))
    notes = [*_fix_batch(edited), *_fix_reshapes(edited), *_convolve_dense(edited)]
    if not notes:
        return Rewritten(data)
    changed = flatgraph.pack(edited.source)
    count = _equal_runs(data, changed, samples)
    if count is None:
        return Rewritten(data, (f"left as it was, its results would change: {', '.join(notes)}",))
    return Rewritten(changed, tuple(f"{note}; bit-exact on {text.counted(count, 'input')}" for note in notes))


def _fix_batch(edited: Edit) -> list[str]:
    """An extent that was open at conversion is stored as 1, beside a mark that it is open."""
    marked = [tensor for tensor in edited.subgraph.tensors if tensor.shapeSignature is not None]
    was_open = any(extent < 0 for tensor in marked for extent in tensor.shapeSignature)
    for tensor in marked:
        tensor.shapeSignature = None
    return ["the batch, which was open, is 1"] if was_open else []


def _fix_reshapes(edited: Edit) -> list[str]:
    graph, notes = edited.graph, []
    for operator in graph.operators:
        is_open = operator.name == "RESHAPE" and len(operator.inputs) > 1
        if is_open and not graph.tensors[operator.inputs[1]].is_constant:
            shape = graph.tensors[operator.outputs[0]].shape
            constant = edited.constant(f"{graph.tensors[operator.outputs[0]].name}/shape", np.asarray(shape))
            edited.subgraph.operators[operator.index].inputs = [operator.inputs[0], constant]
            notes.append(f"operator {operator.index} (RESHAPE) has its shape {limits.extents(shape)} as a constant")
    if notes:
        _remove_unused(edited)
    return notes


def _remove_unused(edited: Edit) -> None:
    """Remove operators whose outputs are not needed any more, from the last to the first."""
    needed = {int(index) for index in edited.subgraph.outputs}
    kept = []
    for operator in reversed(edited.subgraph.operators):
        if needed.intersection(int(index) for index in operator.outputs):
            needed.update(int(index) for index in operator.inputs)
            kept.append(operator)
    edited.subgraph.operators = kept[::-1]


def _convolve_dense(edited: Edit) -> list[str]:
    before = list(edited.subgraph.operators)
    by_output = {operator.outputs[0]: operator for operator in edited.graph.operators if operator.outputs}
    notes: list[str] = []
    edited.subgraph.operators = []
    for part in before:
        operator = by_output.get(int(part.outputs[0]))
        if operator is not None and _is_dense_on_rows(edited.graph, operator):
            edited.subgraph.operators += _convolution(edited, operator)
            shape = limits.extents(edited.graph.tensors[operator.inputs[0]].shape)
            notes.append(f"operator {operator.index} (FULLY_CONNECTED on {shape}) is a 1x1 CONV_2D")
        else:
            edited.subgraph.operators.append(part)
    return notes


def _is_dense_on_rows(graph: Graph, operator: Operator) -> bool:
    """Whether it is a dense operator on rows, which the compiler refuses and a convolution can replace."""
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


def _convolution(edited: Edit, operator: Operator) -> list[Any]:
    """Rows become the width of a picture of height 1; a picture stays as it is."""
    graph = edited.graph
    source, weights, output = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    units, features = graph.tensors[weights].shape
    rows, name = math.prod(graph.tensors[output].shape[:-1]), graph.tensors[output].name
    is_picture = len(graph.tensors[source].shape) == 4 and graph.tensors[source].shape[0] == 1
    filters = edited.tensor_like(weights, f"{graph.tensors[weights].name}/1x1", (units, 1, 1, features))
    options = edited.schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = edited.schema.Padding.VALID, 1, 1
    options.fusedActivationFunction = flatgraph.options(graph, operator).fusedActivationFunction
    version = _CONV_VERSIONS[graph.tensors[source].type_name]
    bias = operator.inputs[2] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else _no_bias(edited, operator)
    if is_picture:
        return [edited.operator("CONV_2D", version, (source, filters, bias), output, options)]
    picture = edited.tensor_like(source, f"{name}/rows", (1, 1, rows, features))
    convolved = edited.tensor_like(output, f"{name}/convolved", (1, 1, rows, units))
    return [
        _reshape(edited, source, picture),
        edited.operator("CONV_2D", version, (picture, filters, bias), convolved, options),
        _reshape(edited, convolved, output),
    ]


def _reshape(edited: Edit, source: int, output: int) -> Any:
    tensor = edited.subgraph.tensors[output]
    shape = edited.constant(f"{tensor.name.decode()}/shape", np.asarray(tensor.shape))
    return edited.operator("RESHAPE", 1, (source, shape), output)


def _no_bias(edited: Edit, operator: Operator) -> int:
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
    given = stored_samples([array[: _PROOFS // 2] for array in samples], specs) if samples else []
    return [*given, *verify.random_samples(specs, _PROOFS - len(given))]
