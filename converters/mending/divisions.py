"""Divisors kept off zero, where the int8 kernel ends the run: float has infinity or no number there, int8 has neither.

A divisor that is never negative is zero where it is below half of its step, as a sum over what a mask left nothing of.
It becomes one step, its least other value. Every sample that ran before gives the same bits.
"""

import copy
from typing import Any

import numpy as np

from tflsplit import text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator

_KEPT = "/kept_off_zero"
_VERSION = 2  # of MAXIMUM: the first that takes int8


def kept_off_zero(data: bytes) -> bytes:
    """The model with its least divisor in front of each division; itself where no divisor can be zero."""
    graph = flatgraph.read(data)
    found = [operator for operator in graph.operators if operator.name == "DIV" and _reaches_zero(graph, operator)]
    if not found:
        return data
    edited = Edit(graph)
    operators = zip(graph.operators, edited.subgraph.operators, strict=True)
    edited.subgraph.operators = [
        one for old, new in operators for one in (_guarded(edited, old, new) if old in found else [new])
    ]
    return flatgraph.pack(edited.source)


def note(data: bytes) -> tuple[str, ...]:
    """What `kept_off_zero` did to a model."""
    count = sum(tensor.name.endswith(_KEPT) for tensor in flatgraph.read(data).tensors)
    return (f"one step instead of zero for {text.counted(count, 'divisor')}",) if count else ()


def _reaches_zero(graph: Graph, operator: Operator) -> bool:
    divisor = graph.tensors[operator.inputs[1]]
    return divisor.type_name == "int8" and not divisor.is_constant and _zero_point(graph, divisor.index) == -128


def _zero_point(graph: Graph, index: int) -> int | None:
    quantisation = graph.source.subgraphs[0].tensors[index].quantization
    points = [] if quantisation is None or quantisation.zeroPoint is None else list(quantisation.zeroPoint)
    return int(points[0]) if len(points) == 1 else None


def _guarded(edited: Edit, old: Operator, new: Any) -> list[Any]:
    divisor = edited.graph.tensors[old.inputs[1]]
    quantisation = edited.subgraph.tensors[divisor.index].quantization
    least = edited.constant(f"{divisor.name}/least", np.full(1, -127, np.int8), quantisation)
    kept = edited.tensor_like(divisor.index, f"{divisor.name}{_KEPT}", divisor.shape)
    changed, options = copy.copy(new), edited.schema.MaximumMinimumOptionsT()
    changed.inputs = [old.inputs[0], kept]
    return [edited.operator("MAXIMUM", _VERSION, (divisor.index, least), kept, options), changed]
