"""Models that are int8 inside and float at their ends: the ends are cut off where they only convert.

An input that goes through QUANTIZE becomes the integers behind it, an output that comes out of DEQUANTIZE the integers
before it. Proven by running both.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.loading import quiet
from converters.rewriting import Rewritten
from tflsplit import text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import dequantise, quantise
from tflsplit.package import verify

_PROOFS = 8


def cut_off(data: bytes) -> Rewritten:
    """The model without conversions at its ends; unchanged where there are none, or where a result would change."""
    graph = flatgraph.read(data)
    inputs = {index: found for index in graph.inputs if (found := _beyond_input(graph, index)) is not None}
    outputs = {index: found for index in graph.outputs if (found := _before_output(graph, index)) is not None}
    if not inputs and not outputs:
        return Rewritten(data)
    edited = Edit(graph)
    edited.subgraph.inputs = [inputs.get(index, index) for index in graph.inputs]
    edited.subgraph.outputs = [outputs.get(index, index) for index in graph.outputs]
    gone = {*inputs.values(), *outputs}
    edited.subgraph.operators = [
        part
        for part, operator in zip(edited.subgraph.operators, graph.operators, strict=True)
        if not gone.intersection(operator.outputs)
    ]
    edited.source.signatureDefs = [_moved(one, {**inputs, **outputs}) for one in edited.source.signatureDefs or []]
    changed = flatgraph.pack(edited.source)
    ends = [text.counted(len(found), what) for found, what in ((inputs, "input"), (outputs, "output")) if found]
    note = f"the conversion from and to float of {' and '.join(ends)} was cut off"
    if not _is_equal(data, changed):
        return Rewritten(data, (f"left as it was, its results would change: {note}",))
    return Rewritten(changed, (f"{note}; bit-exact on {_PROOFS} inputs",))


def _moved(signature: Any, behind: Mapping[int, int]) -> Any:
    """The names stay with the ends, which are other tensors now."""
    moved = copy.copy(signature)
    for side in ("inputs", "outputs"):
        entries = [copy.copy(entry) for entry in getattr(signature, side) or []]
        for entry in entries:
            entry.tensorIndex = behind.get(int(entry.tensorIndex), entry.tensorIndex)
        setattr(moved, side, entries)
    return moved


def _beyond_input(graph: Graph, index: int) -> int | None:
    """The integers that a float input becomes, if it becomes nothing else."""
    uses = [operator for operator in graph.operators if index in operator.inputs]
    is_converted = len(uses) == 1 and uses[0].name == "QUANTIZE" and index not in graph.outputs
    return uses[0].outputs[0] if is_converted and graph.tensors[index].type_name == "float32" else None


def _before_output(graph: Graph, index: int) -> int | None:
    """The integers that a float output is made of, if nothing else uses the float values."""
    made = [operator for operator in graph.operators if index in operator.outputs]
    is_used = any(index in operator.inputs for operator in graph.operators) or graph.outputs.count(index) > 1
    if is_used or len(made) != 1 or made[0].name != "DEQUANTIZE" or made[0].inputs[0] in graph.inputs:
        return None
    return made[0].inputs[0]


def _is_equal(before: bytes, after: bytes) -> bool:
    with quiet.silenced(), Interpreter(before) as old, Interpreter(after) as new:
        for sample in verify.random_samples(new.inputs, _PROOFS):
            real = [
                dequantise(*pair).astype(spec.dtype) if spec.dtype == "float32" else pair[0]
                for pair, spec in zip(zip(sample, new.inputs, strict=True), old.inputs, strict=True)
            ]
            for expected, found, spec in zip(old.run(*real), new.run(*sample), new.outputs, strict=True):
                stored = quantise(expected, spec) if expected.dtype != found.dtype else expected
                if not np.array_equal(stored, found):
                    return False
    return True
