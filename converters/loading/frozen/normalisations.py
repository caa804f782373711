"""Normalisations: of batches, where no convolution before them can take them in (ResNetV2, DenseNet); to length 1."""

from typing import Any

import numpy as np

from converters.loading.frozen.graph import FLOATS, Graph, become, node_name
from tflsplit.graph.tensors import Array

# What the converter folds a factor and an offset into.
_FOLDED = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul", "BiasAdd"})
# One that stands at the input tells what inputs the model was trained on (`converters.calibration.first_layer`).
_INPUTS = frozenset({"Placeholder", "Reshape"})
_LARGE = 1e3  # one over the length of a vector that is as good as zero


def alone(graph: Graph, node: Any) -> bool:
    """A factor and an offset for each channel of a picture, as a depthwise convolution of one pixel.

    As MUL and ADD the result would be rounded twice, and all factors would share one scale; a convolution's weights
    have a scale for each channel, and its sum is rounded once: 2.8 dB in a ResNet50V2, 1.6 in a DenseNet121.
    """
    product = next((found for source in node.input if (found := graph.only(source, "Mul")) is not None), None)
    if product is None or node.attr["T"].type not in FLOATS:
        return False
    x = next((source for source in product.input if graph.depends_on(source, "Placeholder")), None)
    # First what is quickly seen: constants may have to be computed, and most stand behind a convolution.
    if x is None or not _is_apart(graph, x):
        return False
    factor = _channels(graph, product, x)
    offset = _channels(graph, node, next(one for one in node.input if node_name(one) == product.name))
    if factor is None or offset is None or factor.size != offset.size:
        return False
    return _as_convolution(graph, node, x, factor, offset)


def fused(graph: Graph, node: Any) -> bool:
    """The same, where factor and offset are one operation."""
    if node.attr["is_training"].b or node.attr["data_format"].s == b"NCHW" or not _is_apart(graph, node.input[0]):
        return False
    held = [graph.array(source) for source in node.input[1:]]
    if any(one is None for one in held):
        return False
    gamma, beta, mean, variance = (np.asarray(one, np.float32) for one in held)
    factor = gamma / np.sqrt(variance + node.attr["epsilon"].f)
    return _as_convolution(graph, node, node.input[0], factor, beta - mean * factor)


def unit(graph: Graph, node: Any) -> bool:
    """x * min(1/sqrt(s), C) and x / sqrt(max(s, least)) written as products, as divisions by the length.

    A vector of zeros is the only one that reaches C, or 1/sqrt(least): a million, or infinity before it is clipped, and
    in int8 the scale of all other vectors' lengths.
    """
    if node.attr["T"].type not in FLOATS:
        return False
    for x, source in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
        if (found := _inverse_length(graph, graph.origin(source))) is not None:
            square, least = found
            length = graph.add("Sqrt", f"{node.name}/length", (square,), node)
            held = graph.constant(f"{node.name}/least", least, node)
            # The converter would make a division by a mere root a product again.
            become(node, "RealDiv", (x, graph.add("Maximum", f"{node.name}/longer", (length, held), node)))
            return True
    return False


def _inverse_length(graph: Graph, made: Any) -> tuple[str, float] | None:
    """Of what is clipped near zero: the squared length, and the least length."""
    if made is None or made.op not in ("Minimum", "Rsqrt"):
        return None
    if made.op == "Minimum":
        root, most = graph.origin(made.input[0]), graph.value(made.input[1]) or 0.0
        return (root.input[0], 1 / most) if root is not None and root.op == "Rsqrt" and most >= _LARGE else None
    clipped = graph.origin(made.input[0])
    if clipped is None or clipped.op != "Maximum":
        return None
    for square, held in (tuple(clipped.input), tuple(reversed(clipped.input))):
        least = graph.value(held)
        if least is not None and 0 < least <= 1 / _LARGE**2:
            return square, least**0.5
    return None


def _is_apart(graph: Graph, x: str) -> bool:
    """Whether it is a picture that nothing made into which a factor could go."""
    shape, origin = graph.shape(x), graph.origin(x)
    return shape is not None and len(shape) == 4 and origin is not None and origin.op not in _FOLDED | _INPUTS


def _as_convolution(graph: Graph, node: Any, x: str, factor: Array, offset: Array) -> bool:
    if (graph.shape(x) or (0,))[-1] != factor.size:
        return False
    weights = graph.held(f"{node.name}/factors", factor.reshape(1, 1, -1, 1))
    scaled = graph.nodes[graph.add("DepthwiseConv2dNative", f"{node.name}/scaled", (x, weights), node)]
    scaled.attr["strides"].list.i.extend((1, 1, 1, 1))
    scaled.attr["padding"].s = b"VALID"
    become(node, "BiasAdd", (scaled.name, graph.held(f"{node.name}/offsets", offset)))
    return True


def _channels(graph: Graph, node: Any, computed: str | None) -> "Array | None":
    """The constant beside what is computed, one value a channel."""
    held = [graph.array(source) for source in node.input if source != computed]
    if len(held) != 1 or held[0] is None or held[0].size < 2 or held[0].shape[-1] != held[0].size:
        return None
    return held[0].reshape(-1).astype(np.float32)
