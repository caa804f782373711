"""Operations that int8 TFLite has no kernel for, written with ones it has, in a model's frozen graph.

Keras 3 builds normalisations, arg-max and masks from operations that TensorFlow's int8 converter leaves in float. All
loaders end in one frozen graph, so this is done there, once, and not layer by layer. The float results must stay what
they were: both graphs are run on the same inputs, and a graph that differs is left as it was.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from converters.loading import quiet
from tflsplit.graph.tensors import Array

_PROOFS = 3
# Of the largest value: float32 sums in another order differ by some 1e-6.
_TOLERANCE = 1e-4

# In the name of a cast that stands before a model to take its input in another type.
INPUT_TYPE = "tflsplit_input_type"

_FLOATS = (1, 14, 19)  # DataType of float32, bfloat16, float16 (types.proto)


def rewritten(function: Any, specs: Sequence[Any], results: int) -> Any:
    """A frozen function with the same inputs and outputs; the one given where nothing is to do or results differ.

    `specs` describe its inputs. The first `results` outputs are the model's; those of layers may come in other scales.
    """
    graph = _Graph(function)
    if not _rewrite(graph):
        return function
    made = _function(graph.definition, function)
    return made if _is_equal(function, made, specs, results) else function


class _Graph:
    """Nodes by name, and new ones beside them."""

    def __init__(self, function: Any) -> None:
        graph_def = function.graph.as_graph_def()
        self._function = function
        self._before = {node.name for node in graph_def.node}
        self.definition = graph_def
        self.nodes = {node.name: node for node in graph_def.node}
        self.users: dict[str, list[Any]] = {}
        for node in graph_def.node:
            for source in node.input:
                self.users.setdefault(_name(source), []).append(node)

    def add(self, operation: str, name: str, inputs: Sequence[str], like: Any) -> str:
        """A new node of the type of `like`; its name."""
        node = self.definition.node.add()
        node.op, node.name = operation, name
        node.input.extend(inputs)
        node.attr["T"].CopyFrom(like.attr["T"])
        self.nodes[name] = node
        return name

    def constant(self, name: str, value: float, like: Any) -> str:
        """A scalar of the type of `like`."""
        kind = quiet.tensorflow().dtypes.as_dtype(like.attr["T"].type).as_numpy_dtype
        return self.held(name, np.asarray(value, kind))

    def held(self, name: str, array: Array) -> str:
        """A constant of an array."""
        tf = quiet.tensorflow()
        node = self.definition.node.add()
        node.op, node.name = "Const", name
        node.attr["dtype"].type = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
        self.nodes[name] = node
        return name

    def array(self, source: str) -> "Array | None":
        """The value of a tensor that no input has a part in; None for any other."""
        if self.depends_on(source, "Placeholder") or _name(source) not in self._before:
            return None
        tensor = self._function.graph.get_tensor_by_name(source if ":" in source else f"{source}:0")
        held: Array = self._function.prune([], [tensor])()[0].numpy()
        return held

    def only(self, source: str, *operations: str) -> Any:
        """The node that makes `source`, if it is of one of these kinds and computes for one other alone."""
        node = self.nodes.get(_name(source))
        if node is None or node.op not in operations:
            return None
        users = [user for user in self.users.get(node.name, ()) if user.op != "Identity" or user.name in self.users]
        return node if len(users) == 1 else None

    def value(self, source: str) -> float | None:
        """The value of a constant of one element; None for anything else."""
        held = self.array(source)
        return float(held.reshape(-1)[0]) if held is not None and held.size == 1 and held.dtype.kind in "fiu" else None

    def factor(self, product: str, of: str) -> float | None:
        """The constant by which `of` is multiplied to give `product`."""
        node = self.nodes.get(_name(product))
        if node is None or node.op != "Mul" or of not in node.input:
            return None
        return self.value(next((source for source in node.input if source != of), of))

    def depends_on(self, source: str, operation: str) -> bool:
        """Whether a node of this kind is among those that compute `source`."""
        waiting, seen = [_name(source)], set()
        while waiting:
            name = waiting.pop()
            node = self.nodes.get(name)
            if node is not None and node.op == operation:
                return True
            if node is not None and name not in seen:
                seen.add(name)
                waiting += map(_name, node.input)
        return False

    def behind(self, source: str, operation: str) -> Any:
        """The node of this kind behind nothing but arithmetic with positive constants; None if there is none."""
        node = self.nodes.get(_name(source))
        while node is not None and node.op in ("Sub", "Mul", "AddV2", "Identity"):
            computed = [entry for entry in node.input if self.value(entry) is None]
            node = self.nodes.get(_name(computed[0])) if len(computed) == 1 else None
        return node if node is not None and node.op == operation else None


def _rewrite(graph: _Graph) -> int:
    nodes = [(node, _RULES[node.op]) for node in graph.definition.node if node.op in _RULES]
    return sum(rule(graph, node) for node, rule in nodes)


def _become(node: Any, operation: str, inputs: Sequence[str]) -> None:
    """The node under its name, so that all that refer to it still do."""
    kept = {key: node.attr[key] for key in ("T", "_output_shapes") if key in node.attr}
    node.op = operation
    del node.input[:]
    node.input.extend(inputs)
    values = {key: value.SerializeToString() for key, value in kept.items()}
    node.attr.clear()
    for key, value in values.items():
        node.attr[key].ParseFromString(value)


def _negation(graph: _Graph, node: Any) -> bool:
    """-x as x * -1; not the one inside the error function of a GELU, which the converter knows as one operator."""
    if node.attr["T"].type not in _FLOATS or _feeds_error_function(graph, node):
        return False
    minus = graph.constant(f"{node.name}/minus_one", -1.0, node)
    _become(node, "Mul", (node.input[0], minus))
    return True


def _feeds_error_function(graph: _Graph, node: Any) -> bool:
    users = graph.users.get(node.name, [])
    return any(
        user.op in ("Erf", "Erfc") or (user.op in ("Mul", "RealDiv") and _feeds_error_function(graph, user))
        for user in users
    )


def _square(graph: _Graph, node: Any) -> bool:
    if node.attr["T"].type not in _FLOATS:
        return False
    _become(node, "Mul", (node.input[0], node.input[0]))
    return True


def _squared_difference(graph: _Graph, node: Any) -> bool:
    """The int8 kernel takes four dimensions; a group normalisation has five."""
    if node.attr["T"].type not in _FLOATS:
        return False
    difference = graph.add("Sub", f"{node.name}/difference", tuple(node.input), node)
    _become(node, "Mul", (difference, difference))
    return True


def _elu(graph: _Graph, node: Any) -> bool:
    """relu(x) + (exp(x - relu(x)) - 1): x - relu(x) is min(x, 0) in a scale of its own."""
    upper = graph.add("Relu", f"{node.name}/upper", (node.input[0],), node)
    _become(node, "AddV2", (upper, _grown(graph, node, node.input[0], upper)))
    return True


def _selu(graph: _Graph, node: Any) -> bool:
    """Klambauer et al., arXiv 1706.02515: ELU between its two constants."""
    x = node.input[0]
    upper = graph.add("Relu", f"{node.name}/upper", (x,), node)
    alpha = graph.constant(f"{node.name}/alpha", 1.6732632423543772, node)
    scale = graph.constant(f"{node.name}/scale", 1.0507009873554805, node)
    lower = graph.add("Mul", f"{node.name}/lower", (_grown(graph, node, x, upper), alpha), node)
    both = graph.add("AddV2", f"{node.name}/both", (upper, lower), node)
    _become(node, "Mul", (both, scale))
    return True


def _grown(graph: _Graph, node: Any, x: str, upper: str) -> str:
    below = graph.add("Sub", f"{node.name}/below", (x, upper), node)
    grown = graph.add("Exp", f"{node.name}/exp", (below,), node)
    return graph.add("Sub", f"{node.name}/less", (grown, graph.constant(f"{node.name}/one", 1.0, node)), node)


def _minimum(graph: _Graph, node: Any) -> bool:
    """min(a, b) as a - relu(a - b): the converter gives MINIMUM, and what is before it, one scale, that of the result.

    In min(0, exp(z) - 1), a CELU, the exponential of a large z would set the scale: it is taken of min(z, 0).
    """
    if node.attr["T"].type not in _FLOATS or _is_clipped_relu(graph, node):
        return False
    a, b = node.input
    if graph.value(a) is not None:
        a, b = b, a
    exponential = graph.behind(a, "Exp") if graph.value(b) == 0.0 else None
    if exponential is not None:
        z = exponential.input[0]
        upper = graph.add("Relu", f"{exponential.name}/upper", (z,), node)
        exponential.input[0] = graph.add("Sub", f"{exponential.name}/below", (z, upper), node)
        _become(node, "Identity", (a,))
        return True
    over = graph.add("Sub", f"{node.name}/difference", (a, b), node)
    _become(node, "Sub", (a, graph.add("Relu", f"{node.name}/over", (over,), node)))
    return True


def _maximum(graph: _Graph, node: Any) -> bool:
    """max(x, 0) as relu(x), max(x, ax) as a leaky one, any other as b + relu(a - b); see `_minimum`."""
    if node.attr["T"].type not in _FLOATS:
        return False
    a, b = node.input
    if graph.value(a) is not None:
        a, b = b, a
    if graph.value(b) == 0.0:
        _become(node, "Relu", (a,))
        return True
    for x, scaled in ((a, b), (b, a)):
        slope = graph.factor(scaled, x)
        if slope is not None and 0.0 < slope < 1.0:
            _become(node, "LeakyRelu", (x,))
            node.attr["alpha"].f = slope
            return True
    over = graph.add("Sub", f"{node.name}/difference", (a, b), node)
    _become(node, "AddV2", (b, graph.add("Relu", f"{node.name}/over", (over,), node)))
    return True


def _is_clipped_relu(graph: _Graph, node: Any) -> bool:
    """min(relu(x), 6), which the converter makes one operator."""
    made = [graph.nodes.get(_name(source)) for source in node.input]
    return 6.0 in map(graph.value, node.input) and any(one is not None and one.op == "Relu" for one in made)


def _not_equal(graph: _Graph, node: Any) -> bool:
    """x != y as |x - y| > 0, which has an int8 kernel: no difference is stored as exactly 0."""
    if node.attr["T"].type not in _FLOATS:
        return False
    difference = graph.add("Sub", f"{node.name}/difference", tuple(node.input), node)
    distance = graph.add("Abs", f"{node.name}/distance", (difference,), node)
    zero = graph.constant(f"{node.name}/zero", 0.0, node)
    _become(node, "Greater", (distance, zero))
    return True


def _arg_max(graph: _Graph, node: Any) -> bool:
    """Without Keras 3's care for the sign of zeros, which int8 has not."""
    chosen = graph.nodes.get(_name(node.input[0]))
    if chosen is None or chosen.op not in ("Select", "SelectV2") or not graph.depends_on(chosen.input[0], "BitwiseAnd"):
        return False
    node.input[0] = chosen.input[2]
    return True


def _cast(graph: _Graph, node: Any) -> bool:
    """A cast of an input back to the type that it is given in (`converters.loading.retyping`)."""
    source = graph.nodes.get(_name(node.input[0]))
    while source is not None and source.op == "Identity":
        source = graph.nodes.get(_name(source.input[0]))
    if source is None or source.op != "Cast" or INPUT_TYPE not in source.name:
        return False
    kind = node.attr["DstT"].type
    if source.attr["SrcT"].type != kind:
        return False
    _become(node, "Identity", (source.input[0],))
    node.attr["T"].type = kind
    return True


_CHANNELS = {
    "Conv2D": (3,),
    "DepthwiseConv2dNative": (2, 3),
    "MatMul": (1,),
}  # axes of the weights that count output channels


def _scaled_relu(graph: _Graph, node: Any) -> bool:
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
    position = 1 - [_name(source) for source in node.input].index(relu.name)
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
        _become(node, "Identity", (relu.name,))
    else:
        node.input[position] = graph.held(f"{node.name}/sign", np.sign(factor))
    return True


_RULES: dict[str, Callable[[_Graph, Any], bool]] = {
    "Neg": _negation,
    "Square": _square,
    "SquaredDifference": _squared_difference,
    "Elu": _elu,
    "Selu": _selu,
    "Minimum": _minimum,
    "Maximum": _maximum,
    "NotEqual": _not_equal,
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Mul": _scaled_relu,
}


def _name(source: str) -> str:
    return source.lstrip("^").partition(":")[0]


def _function(graph_def: Any, like: Any) -> Any:
    """The graph as a function with the inputs and outputs of `like`."""
    tf = quiet.tensorflow()
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    find = imported.graph.get_tensor_by_name
    return imported.prune([find(tensor.name) for tensor in like.inputs], [find(tensor.name) for tensor in like.outputs])


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
    """Whole numbers where the model takes them, however they are given: each table of an embedding has 0 and 1."""
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
