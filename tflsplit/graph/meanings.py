"""What an output of a model means, told from the operators that make it: shares of classes, plain numbers.

A row is an output with one extent above 1, wherever that stands: (1, N) as well as (1, 1, 1, N).
"""

import math
from collections.abc import Mapping, Sequence
from enum import Enum

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator

# What converters put between the operator that decides and the output; it changes no value.
_ARRANGING = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE"})
# A row that one of them ends holds scores of classes as well as plain numbers; whatever else ends one, no scores.
_LINEAR = frozenset({"FULLY_CONNECTED", "CONV_2D", "BATCH_MATMUL", "MEAN", "AVERAGE_POOL_2D", "ADD", "LOG_SOFTMAX"})


IS_THERE = 0.5  # from here on a sigmoid says that something is there


class Meaning(str, Enum):
    """`value` is what the manifest says. Of `SIGMOID` the only value is the share of the second of two classes."""

    SOFTMAX = "softmax"
    LOGITS = "logits"
    SIGMOID = "sigmoid"
    MULTI_LABEL = "multi-label"
    VALUES = "values"

    @property
    def is_of_one_class(self) -> bool:
        """Whether one class is the answer."""
        return self in (Meaning.SOFTMAX, Meaning.LOGITS, Meaning.SIGMOID)


def of_graph(graph: Graph, *, has_labels: bool) -> tuple[Meaning, ...]:
    """Of each output. With labels, a row that could be anything holds scores of classes."""
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    sizes = {math.prod(graph.tensors[index].shape) for index in graph.inputs}
    found = []
    for index in graph.outputs:
        maker = _deciding(makers, index)
        kind = "" if maker is None or _is_clamped(graph, maker) else maker.name
        found.append(of_ending(kind, graph.tensors[index].shape, sizes, has_labels=has_labels))
    return tuple(found)


def of_ending(kind: str, shape: Sequence[int], input_sizes: set[int], *, has_labels: bool) -> Meaning:
    """Of an output that an operator of this kind, by TFLite's name, makes. What is as large as an input is its
    reconstruction. The scores of a softmax lie along the row, else it is one of many."""
    elements = math.prod(shape)
    if elements == 1:
        return Meaning.SIGMOID if kind == "LOGISTIC" else Meaning.VALUES
    if not is_row(shape):
        return Meaning.VALUES
    if kind == "SOFTMAX":
        return Meaning.SOFTMAX
    if elements in input_sizes and not has_labels:
        return Meaning.VALUES
    if kind == "LOGISTIC":
        return Meaning.MULTI_LABEL
    return Meaning.LOGITS if has_labels or kind in _LINEAR else Meaning.VALUES


def is_row(shape: Sequence[int]) -> bool:
    return math.prod(shape) == max(shape, default=1) > 1


def label_count(meaning: Meaning, shape: Sequence[int]) -> int | None:
    """How many labels an output takes; None where that cannot be told, as of a map with classes along some axis."""
    if meaning is Meaning.SIGMOID:
        return 2
    if is_row(shape) or math.prod(shape) == 1:
        return 0 if meaning is Meaning.VALUES else math.prod(shape)
    return None


def _deciding(makers: Mapping[int, Operator], index: int) -> Operator | None:
    maker = makers.get(index)
    while maker is not None and maker.name in _ARRANGING:
        maker = makers.get(maker.inputs[0])
    return maker


def _is_clamped(graph: Graph, operator: Operator) -> bool:
    """Scores of classes are not cut off at zero."""
    return bool(getattr(flatgraph.options(graph, operator), "fusedActivationFunction", 0))
