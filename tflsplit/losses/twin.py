"""A float twin of an int8 model: the same operators over the same tensors in float32, on its dequantised weights.

It needs nothing but the int8 file. What rounding the weights has cost is not told by it, since that is in its weights.
"""

import copy
from typing import Any

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator

# They only change how values are stored; in float there is nothing to change.
_STORING = frozenset({"QUANTIZE", "DEQUANTIZE"})
# Old converters leave out a ReLU that the range of the output does already.
_CLAMPED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD"})


def of_model(graph: Graph, *, name: str = "model") -> bytes:
    """The twin as a `.tflite`; its tensors and operators stand in the places of those of `graph`.

    ModelError for weights in types that cannot be read.
    """
    edited = Edit(graph)
    for tensor, changed in zip(graph.tensors, list(edited.subgraph.tensors), strict=True):
        if not tensor.scale_count:
            continue
        if tensor.is_constant and not tensor.is_variable:
            edited.fill(tensor.index, flatgraph.real_constant(graph, tensor.index, name=name))
        changed.type, changed.quantization = edited.schema.TensorType.FLOAT32, None
    for place, operator in enumerate(graph.operators):
        changed = edited.subgraph.operators[place]
        changed.intermediates = None  # scales between the steps of a fused LSTM
        if operator.name in _STORING:
            edited.subgraph.operators[place] = _unchanged(edited, operator)
        elif operator.name in _CLAMPED and _begins_at_zero(graph, operator.outputs[0]):
            _give_relu(edited, changed)
    return flatgraph.pack(edited.source)


def _unchanged(edited: Edit, operator: Operator) -> Any:
    """RESHAPE to the shape that the tensor has."""
    shape = np.asarray(edited.graph.tensors[operator.outputs[0]].shape, np.int32)
    told = edited.constant(f"shape of {operator.index}", shape)
    return edited.operator("RESHAPE", 1, (operator.inputs[0], told), operator.outputs[0])


def _begins_at_zero(graph: Graph, index: int) -> bool:
    spec = graph.tensors[index].spec
    return (
        spec is not None
        and spec.is_quantised
        and spec.dtype in ("int8", "uint8")
        and spec.zero_point == np.iinfo(spec.dtype).min
    )


def _give_relu(edited: Edit, changed: Any) -> None:
    kinds = edited.schema.ActivationFunctionType
    if getattr(changed.builtinOptions, "fusedActivationFunction", None) == kinds.NONE:
        changed.builtinOptions = copy.copy(changed.builtinOptions)
        changed.builtinOptions.fusedActivationFunction = kinds.RELU
