"""How each operator can be shared: what of its inputs a part of its result needs, and how the part is computed."""

from collections.abc import Callable
from typing import Protocol

from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.placement.rewriting import boxes, elements, movement, windows
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.building import Building


class Rule(Protocol):
    """Of one operator with one output. Boxes are of its tensors, by their index in the graph."""

    def widened(self, made: Box) -> Box:
        """The smallest part around `made` that can be computed on its own."""

    def needs(self, made: Box) -> dict[int, Box]:
        """What of each tensor a widened part needs; constants are left out."""

    def build(self, building: Building, made: Box) -> None:
        """Adds the operators that make a widened part of what the building holds."""

    def macs(self, made: Box) -> int:
        """Multiply-accumulates for a widened part."""


_RULES: dict[str, Callable[[Graph, Operator], Rule]] = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), windows.Convolution),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), windows.Pool),
    "TRANSPOSE_CONV": windows.Transposed,
    **dict.fromkeys(
        (
            *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU", "LEAKY_RELU"),
            *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LOGISTIC", "TANH", "HARD_SWISH", "ELU", "GELU"),
            *("ABS", "NEG", "EXP", "SQRT", "RSQRT", "SQUARE", "QUANTIZE", "DEQUANTIZE", "CAST"),
        ),
        elements.Elementwise,
    ),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX", "L2_NORMALIZATION"), elements.softmax),
    "FULLY_CONNECTED": elements.Dense,
    "MEAN": elements.Mean,
    "CONCATENATION": movement.Joined,
    **dict.fromkeys(("PAD", "PADV2"), movement.Padded),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), movement.Reshaped),
    "TILE": movement.Tiled,
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), movement.Resized),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), movement.Blocks),
}


def of(graph: Graph, operator: Operator) -> Rule | None:
    """None for one that runs on one machine, with all of its tensors."""
    made = _RULES.get(operator.name)
    if made is None or len(operator.outputs) != 1 or not _is_fixed(graph, operator):
        return None
    rank = len(graph.tensors[operator.outputs[0]].shape)
    if made in _OF_PIXELS and rank != 4:
        return None
    return made(graph, operator)


# Operators of which a part of the last axis reads that part of the constants.
FILTERED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_OF_PIXELS = (windows.Convolution, windows.Pool, windows.Transposed, movement.Resized, movement.Blocks)
# What says how an operator works has to be known beforehand.
_CONSTANT = {"MEAN": 1, "PAD": 1, "PADV2": 1, "TILE": 1, "TRANSPOSE_CONV": 1}


def _is_fixed(graph: Graph, operator: Operator) -> bool:
    place = _CONSTANT.get(operator.name)
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    if any(tensor.is_variable or tensor.is_dynamic for tensor in tensors):
        return False
    return place is None or graph.tensors[operator.inputs[place]].is_constant


def needs_of_all(graph: Graph, operator: Operator) -> dict[int, Box]:
    """All tensors that an operator without a rule reads, whole; constants and its own state are left out."""
    return {
        index: boxes.whole(graph.tensors[index].shape)
        for index in operator.inputs
        if index >= 0 and graph.tensors[index].is_computed
    }
