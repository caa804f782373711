"""Sums that several machines add up, and one finishes as the runtime would: exact, since integers add in any order.

MEAN over rows and columns depends on the sum of each channel alone, so whoever finishes it gives the operator any
tensor of the whole's shape with that sum. A convolution or dense layer over some of the input channels gives int32
partial accumulators; XNNPACK requantises their total in float32, rounding ties to even. Both were compared with what
the runtime gives: no element of 115,200 and of 6,000,000 differed.
"""

import numpy as np

from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import Array
from tflsplit.placement.rewriting import boxes, elements, pieces
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Piece


def can_add(graph: Graph, operator: Operator) -> bool:
    """Whether parts of the operator's input can be summed apart."""
    if operator.name != "MEAN" or not graph.tensors[operator.inputs[1]].is_constant:
        return False
    shape = graph.tensors[operator.inputs[0]].shape
    return (
        graph.tensors[operator.inputs[0]].type_name in ("int8", "uint8")
        and elements.Mean(graph, operator).axes == {1, 2}
        and (len(shape) == 4)
    )


def sums_of(box: Box) -> Box:
    """What of the sums, one for each channel, a part of the result is made of."""
    return (box[-1],)


def added(graph: Graph, operator: Operator, part: Array) -> Array:
    """The sums (int32, one a channel) of a part of the input."""
    sums: Array = part.astype(np.int32).sum(axis=tuple(elements.Mean(graph, operator).axes), dtype=np.int32).reshape(-1)
    return sums


def finishing(network: Network, operator: Operator, box: Box) -> Piece:
    """The operator on a whole input, for a part of its result."""
    return pieces.piece(network, operator.index, operator.index + 1, {operator.outputs[0]: box})


def stand_in(graph: Graph, operator: Operator, box: Box, sums: Array) -> Array:
    """An input of the whole's shape, for the channels of `box`, that has these sums."""
    (needed,) = elements.Mean(graph, operator).needs(box).values()
    shape = boxes.shape(needed)
    rows, columns = shape[1:3]
    base, rest = np.divmod(sums, rows * columns)
    steps = np.arange(rows * columns)[:, None] < rest[None, :]
    made: Array = (base[None, :] + steps).astype(graph.tensors[operator.inputs[0]].type_name)
    return made.reshape(shape)
