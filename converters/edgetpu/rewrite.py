"""Exact rewrites that make operators map to the Edge TPU."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters import rewriting, static_shapes
from converters.edgetpu import limits
from converters.rewriting import Rewritten
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import Array

_CONV_VERSIONS = {"int8": 3, "uint8": 1}  # the first that take the type


def rewrite(data: bytes, samples: Sequence[Array] = ()) -> Rewritten:
    """Rewrite what can be, if the whole model stays bit-exact on `samples` (real values, one array an input).

    - a batch left open becomes 1, and a RESHAPE whose shape is computed from static shapes gets it as a constant;
    - a dense layer on more than one row becomes a 1x1 convolution between reshapes.
    """
    return rewriting.rewrite(data, (*static_shapes.PASSES, _convolve_dense), samples)


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
    shape = edited.constant(f"{tensor.name.decode()}/shape", np.asarray(tensor.shape, np.int32))
    return edited.operator("RESHAPE", 1, (source, shape), output)


def _no_bias(edited: Edit, operator: Operator) -> int:
    """Converters leave out a dense layer's bias of zeros, never a convolution's."""
    data, weights = (edited.subgraph.tensors[index] for index in operator.inputs[:2])
    quantisation = copy.copy(weights.quantization)
    quantisation.scale = np.asarray(weights.quantization.scale, np.float32) * np.float32(data.quantization.scale[0])
    quantisation.zeroPoint = np.zeros(len(quantisation.scale), np.int64)
    name = f"{edited.graph.tensors[operator.outputs[0]].name}/bias"
    return edited.constant(name, np.zeros(int(weights.shape[0]), np.int32), quantisation)
