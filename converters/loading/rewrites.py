"""Operations that int8 TFLite has no kernel for, written with ones it has, in a model's frozen graph.

Keras 3 builds normalisations, arg-max and masks from operations that TensorFlow's int8 converter leaves in float. All
loaders end in one frozen graph, so this is done there, once, and not layer by layer. The float results must stay what
they were: both graphs are run on the same inputs, and a graph that differs is left as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from converters.loading import quiet
from converters.loading.frozen import activations, masks, normalisations
from converters.loading.frozen.graph import FLOATS, Graph, become, node_name
from tflsplit.graph.tensors import Array

_PROOFS = 3
# Of the largest value: float32 sums in another order differ by some 1e-6.
_TOLERANCE = 1e-4

# In the name of a cast that stands before a model to take its input in another type.
INPUT_TYPE = "tflsplit_input_type"


def rewritten(function: Any, specs: Sequence[Any], results: int) -> Any:
    """A frozen function with the same inputs and outputs; the one given where nothing is to do or results differ.

    `specs` describe its inputs. The first `results` outputs are the model's; those of layers may come in other scales.
    """
    graph = Graph(function)
    if _rewrite(graph):
        made = graph.function()
        if _is_equal(function, made, specs, results):
            return made
        graph = Graph(function)
    return graph.function() if graph.is_tied else function


def _rewrite(graph: Graph) -> int:
    done = 0
    for rules in (_FIRST, _RULES):  # the first know forms by operations that the others rewrite
        nodes = [(node, rules[node.op]) for node in graph.definition.node if node.op in rules]
        done += sum(rule(graph, node) for node, rule in nodes)
    return done


def _negation(graph: Graph, node: Any) -> bool:
    """-x as x * -1; not the one inside the error function of a GELU, which the converter knows as one operator."""
    if node.attr["T"].type not in FLOATS or _feeds_error_function(graph, node):
        return False
    minus = graph.constant(f"{node.name}/minus_one", -1.0, node)
    become(node, "Mul", (node.input[0], minus))
    return True


def _feeds_error_function(graph: Graph, node: Any) -> bool:
    users = graph.users.get(node.name, [])
    return any(
        user.op in ("Erf", "Erfc") or (user.op in ("Mul", "RealDiv") and _feeds_error_function(graph, user))
        for user in users
    )


def _square(graph: Graph, node: Any) -> bool:
    if node.attr["T"].type not in FLOATS:
        return False
    become(node, "Mul", (node.input[0], node.input[0]))
    return True


def _power(graph: Graph, node: Any) -> bool:
    """x to the third or fourth as products, as in GELUs written by hand; to the second the converter knows."""
    exponent = graph.value(node.input[1])
    if node.attr["T"].type not in FLOATS or exponent not in (3.0, 4.0):
        return False
    x = node.input[0]
    square = graph.add("Mul", f"{node.name}/square", (x, x), node)
    become(node, "Mul", (square, x if exponent == 3.0 else square))
    return True


def _squared_difference(graph: Graph, node: Any) -> bool:
    """The int8 kernel takes four dimensions; a group normalisation has five."""
    if node.attr["T"].type not in FLOATS:
        return False
    difference = graph.add("Sub", f"{node.name}/difference", tuple(node.input), node)
    become(node, "Mul", (difference, difference))
    return True


def _not_equal(graph: Graph, node: Any) -> bool:
    """x != y as |x - y| > 0, which has an int8 kernel: no difference is stored as exactly 0."""
    if node.attr["T"].type not in FLOATS:
        return False
    difference = graph.add("Sub", f"{node.name}/difference", tuple(node.input), node)
    distance = graph.add("Abs", f"{node.name}/distance", (difference,), node)
    zero = graph.constant(f"{node.name}/zero", 0.0, node)
    become(node, "Greater", (distance, zero))
    return True


def _arg_max(graph: Graph, node: Any) -> bool:
    """Without Keras 3's care for the sign of zeros, which int8 has not."""
    chosen = graph.nodes.get(node_name(node.input[0]))
    if chosen is None or chosen.op not in ("Select", "SelectV2") or not graph.depends_on(chosen.input[0], "BitwiseAnd"):
        return False
    node.input[0] = chosen.input[2]
    return True


def _is_nan(graph: Graph, node: Any) -> bool:
    """Never in int8: the converter would compare x with itself, which has no kernel."""
    difference = graph.add("Sub", f"{node.name}/difference", (node.input[0], node.input[0]), node)
    zero = graph.constant(f"{node.name}/zero", 0.0, node)
    become(node, "Greater", (graph.add("Abs", f"{node.name}/distance", (difference,), node), zero))
    return True


def _split(graph: Graph, node: Any) -> bool:
    """Parts that are used, taken one by one, where others are not: then the converter splits in float.

    It knows by itself that what is multiplied by zeros, as the first state of a recurrent layer, is not used.
    """
    source, axis = (node.input[1], node.input[0]) if node.op == "Split" else (node.input[0], node.input[2])
    shape, axis_value, parts = graph.shape(source), graph.value(axis), node.attr["num_split"].i
    used = [place for place in range(parts) if not _is_lost(graph, f"{node.name}:{place}")]
    if shape is None or axis_value is None or not used or len(used) == parts or node.attr["T"].type not in FLOATS:
        return False
    place_of = int(axis_value) % len(shape)
    given = graph.array(node.input[1]) if node.op == "SplitV" else np.full(parts, shape[place_of] // parts)
    if given is None:
        return False
    given = np.where(given < 0, shape[place_of] - given.sum() - 1, given)  # -1 is what the others leave
    ends = np.cumsum(given)
    for place in used:
        begin = [int(ends[place] - given[place]) if one == place_of else 0 for one in range(len(shape))]
        size = [int(given[place]) if one == place_of else -1 for one in range(len(shape))]
        held = [
            graph.held(f"{node.name}/{what}_{place}", np.asarray(value, np.int32))
            for what, value in (("begin", begin), ("size", size))
        ]
        part = graph.add("Slice", f"{node.name}/part_{place}", (source, *held), node)
        graph.nodes[part].attr["Index"].type = 3  # DataType of int32
        names = {f"{node.name}:{place}", *([node.name] if place == 0 else [])}
        for user in graph.users_of(f"{node.name}:{place}"):
            user.input[:] = [part if entry in names else entry for entry in user.input]
    return True


def _is_lost(graph: Graph, source: str) -> bool:
    """Whether nothing is computed from a tensor, or all of it, element by element, is multiplied by zeros."""
    names = (source, source.removesuffix(":0"))
    for user in graph.users_of(source):
        if user.op not in _ELEMENTWISE:
            return False
        is_zeroed = user.op == "Mul" and any(_is_zero(graph, other) for other in user.input if other not in names)
        result = f"{user.name}:0"
        if not is_zeroed and not (graph.users_of(result) and _is_lost(graph, result)):
            return False
    return True


_ELEMENTWISE = frozenset({"AddV2", "BiasAdd", "Identity", "Mul", "Relu", "Sigmoid", "Sub", "Tanh"})


def _is_zero(graph: Graph, source: str) -> bool:
    held = graph.array(source)
    return held is not None and not held.any()


def _cast(graph: Graph, node: Any) -> bool:
    """A cast of an input back to the type that it is given in (`converters.loading.retyping`), or of a mask."""
    source = graph.origin(node.input[0])
    kind = node.attr["DstT"].type
    if source is None or source.op == "Placeholder":
        return False
    if source.op == "Cast" and INPUT_TYPE in source.name and source.attr["SrcT"].type == kind:
        become(node, "Identity", (source.input[0],))
        node.attr["T"].type = kind
        return True
    if (node.attr["SrcT"].type, kind) != (10, 1):  # DataType of bool, of float32
        return False
    node.attr["T"].type = kind
    become(node, "SelectV2", (node.input[0], *(graph.constant(f"{node.name}/{one}", one, node) for one in (1.0, 0.0))))
    return True


_CHANNELS = {
    "Conv2D": (3,),
    "DepthwiseConv2dNative": (2, 3),
    "MatMul": (1,),
}  # axes of the weights that count output channels


def _scaled_relu(graph: Graph, node: Any) -> bool:
    """Convolution, ReLU, then a factor for each channel, as batch normalisation has: its size moves into the first.

    The factors of channels may differ by thousands, and one scale for all of them leaves the small ones no steps. The
    sign stays behind, since a ReLU lets only positive factors through. (Cross-layer equalisation: Nagel et al., arXiv
    1906.04721, here with a normalisation in place of the second convolution.)
    """
    relu = next((found for source in node.input if (found := graph.only(source, "Relu")) is not None), None)
    add = graph.only(relu.input[0], "BiasAdd") if relu is not None else None
    convolution = graph.only(add.input[0], *_CHANNELS) if add is not None else None
    if relu is None or add is None or convolution is None:
        return False
    position = 1 - [node_name(source) for source in node.input].index(relu.name)
    sources = (node.input[position], convolution.input[1], add.input[1])
    held = [found for source in sources if (found := graph.array(source)) is not None]
    if len(held) < len(sources) or held[0].size != held[2].size or held[0].shape[-1:] != held[2].shape:
        return False
    factor, weights, bias = held
    size = np.where(factor == 0, 1.0, np.abs(factor)).astype(np.float32).reshape(-1)
    axes = _CHANNELS[convolution.op]
    shape = [extent if axis in axes else 1 for axis, extent in enumerate(weights.shape)]
    convolution.input[1] = graph.held(f"{node.name}/weights", weights * size.reshape(shape))
    add.input[1] = graph.held(f"{node.name}/bias", bias * size)
    if np.all(factor > 0):
        become(node, "Identity", (relu.name,))
    else:
        node.input[position] = graph.held(f"{node.name}/sign", np.sign(factor))
    return True


_FIRST: dict[str, Callable[[Graph, Any], bool]] = {
    "Softmax": masks.softmax,
    "Mul": normalisations.unit,
    "Select": activations.chosen,
    "SelectV2": activations.chosen,
    "Softplus": activations.softplus,
    "Log": activations.softplus,
    "Log1p": activations.softplus,
}
_RULES: dict[str, Callable[[Graph, Any], bool]] = {
    "Neg": _negation,
    "Square": _square,
    "Pow": _power,
    "SquaredDifference": _squared_difference,
    "Elu": activations.elu,
    "Selu": activations.selu,
    "Minimum": activations.minimum,
    "Maximum": activations.maximum,
    "NotEqual": _not_equal,
    "IsNan": _is_nan,
    "Split": _split,
    "SplitV": _split,
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Mul": _scaled_relu,
    "AddV2": normalisations.alone,
    "FusedBatchNormV3": normalisations.fused,
}


def _is_equal(before: Any, after: Any, specs: Sequence[Any], results: int) -> bool:
    return all(
        _is_close(*pair)
        for sample in _samples(before, specs)
        for pair in zip(run(before, sample)[:results], run(after, sample)[:results], strict=True)
    )


def _is_close(expected: Array, found: Array) -> bool:
    if expected.dtype.kind != "f":
        return np.array_equal(expected, found)
    allowed = _TOLERANCE * _largest(expected)
    return np.allclose(expected, found, rtol=_TOLERANCE, atol=allowed, equal_nan=True)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def _samples(function: Any, specs: Sequence[Any]) -> Iterator[list[Array]]:
    """Zeros, where divisions differ, then random; whole numbers where the model takes them, in whatever type: each
    table of an embedding has 0 and 1."""
    yield [np.zeros(tuple(spec.shape), spec.dtype.as_numpy_dtype) for spec in specs]
    random = np.random.default_rng(0)
    is_whole = [
        not spec.dtype.is_floating or any(INPUT_TYPE in user.name for user in tensor.consumers())
        for spec, tensor in zip(specs, function.inputs, strict=True)
    ]
    for _ in range(_PROOFS):
        yield [
            (random.integers(0, 2, tuple(spec.shape)) if whole else random.standard_normal(tuple(spec.shape))).astype(
                spec.dtype.as_numpy_dtype
            )
            for spec, whole in zip(specs, is_whole, strict=True)
        ]


def run(function: Any, sample: Sequence[Array]) -> tuple[Array, ...]:
    """The outputs of a function of TensorFlow for one sample."""
    tf = quiet.tensorflow()
    return tuple(output.numpy() for output in tf.nest.flatten(function(*[tf.constant(array) for array in sample])))
