"""Products and means of quantised tensors that lie between two integers, where kernels round to different sides.

The kernels of XNNPACK compute an int8 or uint8 MUL as `product * scale`: on Arm in integers, rounding halves up; on x86
in float32, rounding halves to even. There are 65,536 products at most, so whether any of them tells the two apart is a
matter of looking. On 200 MULs of five models, each on inputs of any value, this found the 4 that differ between
Cortex-A72 and x86-64, and no other; two of the four are a swish that never has the values that would show it.

A MEAN is `sum * scale + bias` in float32, on x86-64 with two roundings, on Arm with one: LiteRT 2.3 gives just that for
11,520 sums next to the middle between two integers. Other versions bring zero points in elsewhere; all ways must agree.
"""

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import Array, TensorSpec

_PRODUCTS = frozenset({"int8", "uint8"})
_MOST_SUMS = 1 << 22  # beyond, some are as good as certain


def has_ties(graph: Graph, operator: Operator) -> bool:
    """Whether this is a MUL or a MEAN with a result that two ways of rounding turn into different integers."""
    if operator.name == "MEAN":
        return _has_tied_mean(graph, operator)
    return operator.name == "MUL" and _has_tied_product(graph, operator)


def _has_tied_mean(graph: Graph, operator: Operator) -> bool:
    source, made = (graph.tensors[index].spec for index in (operator.inputs[0], operator.outputs[0]))
    if source is None or made is None or {source.dtype, made.dtype} - _PRODUCTS or not made.elements:
        return False
    count = source.elements // made.elements
    if 255 * count >= _MOST_SUMS:
        return True
    limits = np.iinfo(source.dtype)
    sums = np.arange(limits.min * count, limits.max * count + 1)
    scale = np.float32(source.scale) / np.float32(made.scale) * (np.float32(1) / np.float32(count))
    steps = sums - count * source.zero_point
    bias = np.float32(made.zero_point) - np.float32(count * source.zero_point) * scale
    fused_bias = np.float32(made.zero_point - float(count * source.zero_point) * float(scale))
    ways = (
        sums.astype(np.float32) * scale + bias,  # x86-64
        (sums * float(scale) + float(fused_bias)).astype(np.float32),  # Arm, where a product and a sum are rounded once
        np.rint(steps.astype(np.float32) * scale) + made.zero_point,
        steps.astype(np.float32) * scale + np.float32(made.zero_point),
    )
    limits = np.iinfo(made.dtype)
    first, *others = (np.clip(np.rint(way), limits.min, limits.max) for way in ways)
    return any(np.any(first != other) for other in others)


def _has_tied_product(graph: Graph, operator: Operator) -> bool:
    left, right, made = (graph.tensors[index].spec for index in (*operator.inputs[:2], operator.outputs[0]))
    if left is None or right is None or made is None or {left.dtype, right.dtype, made.dtype} - _PRODUCTS:
        return False
    one, other = _operands(graph, operator, left, right)
    products = (one * other).astype(np.float64)
    # In the order and the precision in which XNNPACK makes the scale; the product with it is exact in 64 bits.
    scale = np.float32(left.scale) * np.float32(right.scale) / np.float32(made.scale)
    exact = products * np.float64(scale)
    limits = np.iinfo(made.dtype)
    up, even = (
        np.clip(rounded + made.zero_point, limits.min, limits.max)
        for rounded in (np.floor(exact + 0.5), np.rint(exact.astype(np.float32)))
    )
    return bool(np.any(up != even))


def _operands(graph: Graph, operator: Operator, left: TensorSpec, right: TensorSpec) -> tuple[Array, Array]:
    """All that can meet, in steps from the zero points, to be broadcast: any value any other, but for a square and for
    swish, the product of a value and its own sigmoid, which is what most MULs of pictures' networks are for."""
    one, other = operator.inputs[:2]
    steps, others = _steps(graph, one, left), _steps(graph, other, right)
    if one == other:
        return steps, steps
    if _is_sigmoid_of(graph, other, one):
        return steps[:, None], _sigmoids(steps, left, right)
    if _is_sigmoid_of(graph, one, other):
        return _sigmoids(others, right, left), others[:, None]
    return steps[:, None], others[None, :]


def _is_sigmoid_of(graph: Graph, index: int, source: int) -> bool:
    return any(
        operator.name == "LOGISTIC" and index in operator.outputs and operator.inputs[0] == source
        for operator in graph.operators
    )


def _sigmoids(steps: Array, source: TensorSpec, made: TensorSpec) -> Array:
    """Of each value the sigmoid, and what is a step beside it: no kernel of 8 bits is further off."""
    real = np.clip(steps * source.scale, -60.0, 60.0)  # beyond, exp would only overflow
    nearest = np.rint(1 / (1 + np.exp(-real)) / made.scale)
    limits = np.iinfo(made.dtype)
    stored = np.add.outer(nearest + made.zero_point, (-1, 0, 1))
    near: Array = np.clip(stored, limits.min, limits.max) - made.zero_point
    return near


def _steps(graph: Graph, index: int, spec: TensorSpec) -> Array:
    """All that a tensor can hold, in steps from its zero point."""
    data = flatgraph.constant(graph, index)
    limits = np.iinfo(spec.dtype)
    stored = np.arange(limits.min, limits.max + 1) if data is None else np.unique(data).astype(np.int64)
    return stored - spec.zero_point
