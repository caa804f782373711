"""Products of two quantised tensors that lie exactly between two integers, where kernels round to different sides.

The kernels of XNNPACK compute an int8 or uint8 MUL as `product * scale`: on Arm in integers, rounding halves up; on x86
in float32, rounding halves to even. There are 65,536 products at most, so whether any of them tells the two apart is a
matter of looking. On 200 MULs of five models this found the 4 that differ between Cortex-A72 and x86-64, and no other.
"""

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import Array, TensorSpec

_PRODUCTS = frozenset({"int8", "uint8"})


def has_ties(graph: Graph, operator: Operator) -> bool:
    """Whether this MUL has a product that two ways of rounding turn into different integers."""
    left, right, made = (graph.tensors[index].spec for index in (*operator.inputs[:2], operator.outputs[0]))
    if left is None or right is None or made is None or {left.dtype, right.dtype, made.dtype} - _PRODUCTS:
        return False
    products = np.multiply.outer(
        _steps(graph, operator.inputs[0], left), _steps(graph, operator.inputs[1], right)
    ).astype(np.float64)
    # In the order and the precision in which XNNPACK makes the scale; the product with it is exact in 64 bits.
    scale = np.float32(left.scale) * np.float32(right.scale) / np.float32(made.scale)
    exact = products * np.float64(scale)
    limits = np.iinfo(made.dtype)
    up, even = (
        np.clip(rounded + made.zero_point, limits.min, limits.max)
        for rounded in (np.floor(exact + 0.5), np.rint(exact.astype(np.float32)))
    )
    return bool(np.any(up != even))


def _steps(graph: Graph, index: int, spec: TensorSpec) -> Array:
    """All that a tensor can hold, in steps from its zero point."""
    data = flatgraph.constant(graph, index)
    limits = np.iinfo(spec.dtype)
    stored = np.arange(limits.min, limits.max + 1) if data is None else np.unique(data).astype(np.int64)
    return stored - spec.zero_point
