"""The limits of the Edge TPU's compiler for single operators, a small function for each that is documented.

A limit checks one operator of a graph and returns a text that says what is wrong with it, or None. Where the owner of
the model can do something, the text ends with that.
"""

import math
from collections.abc import Sequence

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator, Tensor

Words = str | None

_SOFTMAX_ELEMENTS = 16_000  # "supports only 1-D input tensor with a max of 16,000 elements"
# The compiler leaves large transpositions to the CPU, and does not say where large begins. Taken is the safe side: to
# leave one to the tail costs little, and a head that does not run whole on the Edge TPU much.
_TRANSPOSED_ELEMENTS = 2**18
_MEAN_CHANNELS = 4  # "if a z-reduction, the z-dimension must be multiple of 4"


def constant_parameters(graph: Graph, operator: Operator) -> Words:
    """Everything but the first input: filters, biases, axes, shapes."""
    return _all_constant(_inputs(graph, operator)[1:])


def constant_filter(graph: Graph, operator: Operator) -> Words:
    """The same for TRANSPOSE_CONV, whose data is its third input."""
    inputs = _inputs(graph, operator)
    return _all_constant([*inputs[:2], *inputs[3:]])


def _all_constant(tensors: Sequence[Tensor]) -> Words:
    computed = [tensor.name for tensor in tensors if not tensor.is_constant]
    return f"{computed[0]!r} is computed while it runs; it must be a constant of the file" if computed else None


def no_fused_activation(graph: Graph, operator: Operator) -> Words:
    fused = _option(graph, operator, "fusedActivationFunction")
    return "has an activation fused into it; put the activation before it" if fused else None


def ungrouped(graph: Graph, operator: Operator) -> Words:
    data, filters = _inputs(graph, operator)[:2]
    groups = data.shape[-1] // max(1, filters.shape[-1])
    return f"{groups} groups; use an ordinary or a depthwise convolution" if groups > 1 else None


def one_scale_for_all_weights(graph: Graph, operator: Operator) -> Words:
    scales = max((tensor.scale_count for tensor in _inputs(graph, operator)[1:]), default=0)
    return f"{scales} scales, one a channel; dense weights need one: --target coral gives that" if scales > 1 else None


def default_weights_format(graph: Graph, operator: Operator) -> Words:
    return "weights are shuffled; only the default format maps" if _option(graph, operator, "weightsFormat") else None


def one_row(graph: Graph, operator: Operator) -> Words:
    """A dense layer's "output tensor is one-dimensional"; Dense on a sequence or a picture has many rows."""
    output = _output(graph, operator)
    if math.prod(output.shape[:-1]) > 1 or _option(graph, operator, "keepNumDims"):
        return f"a dense layer on {len(output.shape)}-D data (output {extents(output.shape)}); {_DENSE_ADVICE}"
    return None


_DENSE_ADVICE = "convert with --target coral, which makes it a 1x1 convolution where that is exact, or use Conv2D(…, 1)"


def padding_only(graph: Graph, operator: Operator) -> Words:
    """Concatenation with a constant is only known as padding with zeros."""
    inputs = _inputs(graph, operator)
    constants = [tensor for tensor in inputs if tensor.is_constant]
    if not constants:
        return None
    data = flatgraph.constant(graph, constants[0].index)
    zero = constants[0].spec.zero_point if constants[0].spec else 0
    is_padding = len(inputs) == 2 and data is not None and bool(np.all(data == zero))
    return None if is_padding else "joins a constant that is not all zeros, or more than one other tensor with it"


def keeps_batch(graph: Graph, operator: Operator) -> Words:
    """Reductions: the axes are the second input and leave the first dimension alone."""
    rank = len(_inputs(graph, operator)[0].shape)
    return "reduces over the batch" if 0 in _axes(graph, operator.inputs[1], rank) else None


def whole_fours(graph: Graph, operator: Operator) -> Words:
    data = _inputs(graph, operator)[0]
    reduces_channels = len(data.shape) > 1 and len(data.shape) - 1 in _axes(graph, operator.inputs[1], len(data.shape))
    if reduces_channels and data.shape[-1] % _MEAN_CHANNELS:
        return f"mean over {data.shape[-1]} channels; over channels it needs a multiple of {_MEAN_CHANNELS}"
    return None


def unpacked_batch(graph: Graph, operator: Operator) -> Words:
    rank = len(_output(graph, operator).shape)
    return "stacks along the batch" if _option(graph, operator, "axis") % max(1, rank) == 0 else None


def unpadded_batch(graph: Graph, operator: Operator) -> Words:
    paddings = flatgraph.constant(graph, operator.inputs[1])
    return "pads the batch" if paddings is not None and bool(np.any(paddings[0])) else None


def unsplit_batch(graph: Graph, operator: Operator) -> Words:
    axis = flatgraph.constant(graph, operator.inputs[0])
    rank = len(graph.tensors[operator.inputs[1]].shape)
    return "splits the batch" if axis is not None and int(axis.ravel()[0]) % max(1, rank) == 0 else None


def constant_axis(graph: Graph, operator: Operator) -> Words:
    """The first input of SPLIT is its axis."""
    return None if graph.tensors[operator.inputs[0]].is_constant else "its axis is computed while it runs"


def unmoved_batch(graph: Graph, operator: Operator) -> Words:
    order = flatgraph.constant(graph, operator.inputs[1])
    return "moves the batch" if order is not None and order.size and int(order[0]) != 0 else None


def small_enough(graph: Graph, operator: Operator) -> Words:
    elements = math.prod(_output(graph, operator).shape)
    if elements > _TRANSPOSED_ELEMENTS:
        return f"transposes {elements:,} elements; a large transposition does not map: leave it to the tail"
    return None


def one_alpha_a_channel(graph: Graph, operator: Operator) -> Words:
    alpha = _inputs(graph, operator)[1]
    return "one slope an element; give PReLU shared_axes=[1, 2]" if math.prod(alpha.shape[:-1]) > 1 else None


def more_than_one_pixel(graph: Graph, operator: Operator) -> Words:
    before, after = _inputs(graph, operator)[0].shape, _output(graph, operator).shape
    if math.prod(before[1:3]) == 1 < math.prod(after[1:3]):
        return f"spreads one pixel over {extents(after[1:3])}, which the compiler leaves to the CPU"
    return None


def whole_multiple(graph: Graph, operator: Operator) -> Words:
    """Resizing maps "depending on size, to avoid loss of precision": integer factors are what public logs show."""
    before, after = _inputs(graph, operator)[0].shape, _output(graph, operator).shape
    is_aligned = bool(_option(graph, operator, "alignCorners"))
    for old, new in zip(before[1:3], after[1:3], strict=True):
        old, new = (max(1, old - 1), max(1, new - 1)) if is_aligned else (old, new)  # noqa: PLW2901  # corner to corner
        if new % old:
            return f"resizes {extents(before[1:3])} to {extents(after[1:3])}; use a whole factor"
    return None


def one_dimension(graph: Graph, operator: Operator) -> Words:
    shape = _inputs(graph, operator)[0].shape
    if math.prod(shape[:-1]) > 1:
        return f"softmax over {extents(shape)}; only one row maps: flatten before it, or leave it to the tail"
    if shape and shape[-1] > _SOFTMAX_ELEMENTS:
        return f"softmax over {shape[-1]:,} elements; at most {_SOFTMAX_ELEMENTS:,} map: leave it to the tail"
    return None


def plain_slice(graph: Graph, operator: Operator) -> Words:
    strides = flatgraph.constant(graph, operator.inputs[3])
    if strides is not None and bool(np.any(strides != 1)):
        return f"takes every {int(np.abs(strides).max())}th element or runs backwards; every stride must be 1"
    if _option(graph, operator, "ellipsisMask") or _option(graph, operator, "newAxisMask"):
        return "uses an ellipsis or a new axis; write the slice out"
    return None


def _inputs(graph: Graph, operator: Operator) -> list[Tensor]:
    return [graph.tensors[index] for index in operator.inputs if index >= 0]


def _output(graph: Graph, operator: Operator) -> Tensor:
    return graph.tensors[operator.outputs[0]]


def _option(graph: Graph, operator: Operator, name: str, default: int = 0) -> int:
    """A parameter of the operator; files leave out parameters that have their default."""
    return int(getattr(flatgraph.options(graph, operator), name, default) or 0)


def _axes(graph: Graph, index: int, rank: int) -> set[int]:
    axes = flatgraph.constant(graph, index)
    return set() if axes is None else {int(axis) % max(1, rank) for axis in axes.ravel()}


def extents(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
