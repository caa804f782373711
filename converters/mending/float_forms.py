"""Operators of a float `.tflite` that have no int8 kernel, or none that LiteRT's quantizer knows, as others that have:
the float results stay bit for bit."""

from typing import Any

import numpy as np

from tflsplit import text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Operator

_SHAPES = ("EXPAND_DIMS", "SQUEEZE")


def as_reshapes(edited: Edit) -> list[str]:
    """EXPAND_DIMS and SQUEEZE only give another shape, as RESHAPE does."""

    def reshaped(operator: Operator) -> Any:
        shape = np.asarray(edited.graph.tensors[operator.outputs[0]].shape, np.int32)
        options = edited.schema.ReshapeOptionsT()
        options.newShape = [int(extent) for extent in shape]
        wanted = edited.constant(f"{edited.graph.tensors[operator.outputs[0]].name}/shape", shape)
        return edited.operator("RESHAPE", 1, (operator.inputs[0], wanted), operator.outputs[0], options)

    return _replaced(edited, lambda operator: reshaped(operator) if operator.name in _SHAPES else None, "RESHAPE")


def as_products(edited: Edit) -> list[str]:
    """NEG is times -1; SQUARE and POW with 2 are a value times itself."""

    def product(operator: Operator) -> Any:
        value = operator.inputs[0]
        if edited.graph.tensors[value].type_name != "float32":
            return None
        if operator.name == "NEG":
            other = edited.constant(f"minus_one_{operator.index}", np.full(1, -1, np.float32))
        elif operator.name == "SQUARE" or (operator.name == "POW" and _is_two(edited, operator.inputs[1])):
            other = value
        else:
            return None
        return edited.operator("MUL", 1, (value, other), operator.outputs[0], edited.schema.MulOptionsT())

    return _replaced(edited, product, "MUL")


PASSES = (as_reshapes, as_products)


def _is_two(edited: Edit, index: int) -> bool:
    held = flatgraph.constant(edited.graph, index)
    return held is not None and held.size == 1 and float(held.reshape(())) == 2.0


def _replaced(edited: Edit, other: Any, name: str) -> list[str]:
    """With `other(operator)` in place of each for which it gives one. The graph's operators are found by what they
    make: passes before may have left some out."""
    made = {operator.outputs: new for operator in edited.graph.operators if (new := other(operator)) is not None}
    if not made:
        return []
    parts = edited.subgraph.operators
    edited.subgraph.operators = [made.get(tuple(int(index) for index in part.outputs), part) for part in parts]
    return [f"{text.counted(len(made), 'operator')} became {name}"]
