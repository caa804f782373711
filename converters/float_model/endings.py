"""What the outputs of a loaded model mean, before it is quantised: told from the operations that end its graph."""

import math
from typing import Any

from tflsplit.graph import meanings
from tflsplit.graph.meanings import Meaning

_ARRANGING = frozenset({"Identity", "Reshape", "Squeeze", "ExpandDims", "Transpose"})
# By TensorFlow's names; those that are left out end no scores.
_KINDS = {
    "Softmax": "SOFTMAX",
    "LogSoftmax": "LOG_SOFTMAX",
    "Sigmoid": "LOGISTIC",
    "MatMul": "FULLY_CONNECTED",
    "BiasAdd": "FULLY_CONNECTED",
    "AddV2": "ADD",
    "Conv2D": "CONV_2D",
    "Mean": "MEAN",
    "AvgPool": "AVERAGE_POOL_2D",
}


def of_function(function: Any, *, has_labels: bool) -> tuple[tuple[Meaning, tuple[int, ...]], ...]:
    """Meaning and shape of each output of a frozen function whose shape is known."""
    sizes = {math.prod(tensor.shape) for tensor in function.inputs if tensor.shape.is_fully_defined()}
    found = []
    for tensor in function.outputs:
        if tensor.shape.is_fully_defined():
            shape, kind = tuple(tensor.shape), _KINDS.get(_deciding(tensor).type, "")
            found.append((meanings.of_ending(kind, shape, sizes, has_labels=has_labels), shape))
    return tuple(found)


def _deciding(tensor: Any) -> Any:
    while tensor.op.type in _ARRANGING:
        tensor = tensor.op.inputs[0]
    return tensor.op
