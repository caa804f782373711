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

_FLOATS = (1, 14, 19)  # DataType of float32, bfloat16, float16 (types.proto)


def rewritten(function: Any, specs: Sequence[Any]) -> Any:
    """A frozen function with the same inputs and outputs; the one given where nothing is to do or results differ.

    `specs` describe its inputs.
    """
    graph_def = function.graph.as_graph_def()
    changed = _rewrite(graph_def)
    if not changed:
        return function
    made = _function(graph_def, function)
    return made if _is_equal(function, made, specs) else function


class _Graph:
    """Nodes by name, and new ones beside them."""

    def __init__(self, graph_def: Any) -> None:
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
        tf = quiet.tensorflow()
        kind = like.attr["T"].type
        node = self.definition.node.add()
        node.op, node.name = "Const", name
        node.attr["dtype"].type = kind
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, dtype=tf.dtypes.as_dtype(kind)))
        self.nodes[name] = node
        return name

    def value(self, source: str) -> float | None:
        """The value of a constant of one element; None for anything else."""
        node = self.nodes.get(_name(source))
        while node is not None and node.op == "Identity":
            node = self.nodes.get(_name(node.input[0]))
        if node is None or node.op != "Const":
            return None
        held = quiet.tensorflow().make_ndarray(node.attr["value"].tensor)
        return float(held.reshape(-1)[0]) if held.size == 1 and held.dtype.kind in "fiu" else None

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


def _rewrite(graph_def: Any) -> int:
    graph = _Graph(graph_def)
    done = 0
    for node in list(graph_def.node):
        rule = _RULES.get(node.op)
        if rule is not None and rule(graph, node):
            done += 1
    return done


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
}


def _name(source: str) -> str:
    return source.lstrip("^").partition(":")[0]


def _function(graph_def: Any, like: Any) -> Any:
    """The graph as a function with the inputs and outputs of `like`."""
    tf = quiet.tensorflow()
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    find = imported.graph.get_tensor_by_name
    return imported.prune([find(tensor.name) for tensor in like.inputs], [find(tensor.name) for tensor in like.outputs])


def _is_equal(before: Any, after: Any, specs: Sequence[Any]) -> bool:
    return all(
        _is_close(*pair)
        for sample in _samples(specs)
        for pair in zip(_run(before, sample), _run(after, sample), strict=True)
    )


def _is_close(expected: Array, found: Array) -> bool:
    if expected.dtype.kind != "f":
        return np.array_equal(expected, found)
    allowed = _TOLERANCE * _largest(expected)
    return np.allclose(expected, found, rtol=_TOLERANCE, atol=allowed, equal_nan=True)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array), initial=0.0, where=np.isfinite(array)))


def _samples(specs: Sequence[Any]) -> Iterator[list[Array]]:
    random = np.random.default_rng(0)
    for _ in range(_PROOFS):
        yield [
            random.standard_normal(tuple(spec.shape)).astype(spec.dtype.as_numpy_dtype)
            if spec.dtype.is_floating
            else random.integers(0, 2, tuple(spec.shape)).astype(spec.dtype.as_numpy_dtype)
            for spec in specs
        ]


def _run(function: Any, sample: Sequence[Array]) -> list[Array]:
    tf = quiet.tensorflow()
    return [output.numpy() for output in tf.nest.flatten(function(*[tf.constant(array) for array in sample]))]
