"""Activations written so that int8 keeps what eight bits can keep: with parts that have scales of their own.

Whatever way a model writes them: as one operation, or with minimum, maximum, where, exp and log.
"""

from typing import Any

from converters.loading.frozen.graph import FLOATS, Graph, become, node_name

_TINY = 1e-3  # what is added to keep from dividing by zero is less


def elu(graph: Graph, node: Any) -> bool:
    """relu(x) + (exp(x - relu(x)) - 1): x - relu(x) is min(x, 0) in a scale of its own."""
    upper = graph.add("Relu", f"{node.name}/upper", (node.input[0],), node)
    become(node, "AddV2", (upper, grown(graph, node, node.input[0], upper)))
    return True


def selu(graph: Graph, node: Any) -> bool:
    """Klambauer et al., arXiv 1706.02515: ELU between its two constants."""
    x = node.input[0]
    upper = graph.add("Relu", f"{node.name}/upper", (x,), node)
    alpha = graph.constant(f"{node.name}/alpha", 1.6732632423543772, node)
    scale = graph.constant(f"{node.name}/scale", 1.0507009873554805, node)
    lower = graph.add("Mul", f"{node.name}/lower", (grown(graph, node, x, upper), alpha), node)
    both = graph.add("AddV2", f"{node.name}/both", (upper, lower), node)
    become(node, "Mul", (both, scale))
    return True


def grown(graph: Graph, node: Any, x: str, upper: str) -> str:
    below = graph.add("Sub", f"{node.name}/below", (x, upper), node)
    grown = graph.add("Exp", f"{node.name}/exp", (below,), node)
    return graph.add("Sub", f"{node.name}/less", (grown, graph.constant(f"{node.name}/one", 1.0, node)), node)


def softplus(graph: Graph, node: Any) -> bool:
    """log(1 + exp(x)) as relu(x) + log(1 + exp(-|x|)): the exponential of a large x would set the scale for all."""
    x = node.input[0] if node.op == "Softplus" else _of_softplus(graph, node)
    if x is None or node.attr["T"].type not in FLOATS:
        return False
    upper = graph.add("Relu", f"{node.name}/upper", (x,), node)
    distance = graph.add("Abs", f"{node.name}/distance", (x,), node)
    minus = graph.add("Mul", f"{node.name}/minus", (distance, graph.constant(f"{node.name}/minus_one", -1, node)), node)
    exponential = graph.add("Exp", f"{node.name}/exp", (minus,), node)
    one = graph.constant(f"{node.name}/one", 1.0, node)
    sum_of_both = graph.add("AddV2", f"{node.name}/more", (exponential, one), node)
    become(node, "AddV2", (upper, graph.add("Log", f"{node.name}/log", (sum_of_both,), node)))
    return True


def _of_softplus(graph: Graph, node: Any) -> str | None:
    """x of log(1 + exp(x)) and log1p(exp(x))."""
    source = node.input[0] if node.op == "Log1p" else graph.without(node.input[0], 1.0)
    made = graph.nodes.get(node_name(source)) if source is not None else None
    return made.input[0] if made is not None and made.op == "Exp" else None


def chosen(graph: Graph, node: Any) -> bool:
    """where(x > 0, x, f(x)), with f(x) a multiple of x, or of exp(x) - 1, as a leaky ReLU, or an ELU."""
    found = _halves(graph, node)
    if found is None:
        return False
    x, below = found
    if graph.value(below) == 0.0:
        become(node, "Relu", (x,))
        return True
    slope = graph.factor(below, x)
    if slope is not None and 0.0 < slope < 1.0:
        become(node, "LeakyRelu", (x,))
        node.attr["alpha"].f = slope
        return True
    scale, inner = graph.scaled(below)
    if not _is_grown(graph, inner, x):
        return False
    upper = graph.add("Relu", f"{node.name}/upper", (x,), node)
    lower = grown(graph, node, x, upper)
    if scale != 1.0:
        lower = graph.add("Mul", f"{node.name}/lower", (lower, graph.constant(f"{node.name}/alpha", scale, node)), node)
    become(node, "AddV2", (upper, lower))
    return True


def _halves(graph: Graph, node: Any) -> tuple[str, str] | None:
    """x and f(x) of where(x > 0, x, f(x)); of x above 0, its ELU is x too."""
    choice = graph.nodes.get(node_name(node.input[0]))
    if choice is None or choice.op not in _ABOVE | _BELOW or graph.value(choice.input[1]) != 0.0:
        return None
    x = choice.input[0]
    above, below = node.input[1:] if choice.op in _ABOVE else (node.input[2], node.input[1])
    made = graph.nodes.get(node_name(above))
    is_x = above == x or (made is not None and made.op == "Elu" and made.input[0] == x)
    return (x, below) if is_x else None


_ABOVE, _BELOW = frozenset({"Greater", "GreaterEqual"}), frozenset({"Less", "LessEqual"})


def _is_grown(graph: Graph, source: str, x: str) -> bool:
    """Whether this is exp(x) - 1, or the ELU of x, which is the same below 0."""
    made = graph.nodes.get(node_name(source))
    if made is None or made.op in ("Elu", "Expm1"):
        return made is not None and made.input[0] == x
    inner = graph.without(source, -1.0)
    exponential = graph.nodes.get(node_name(inner)) if inner is not None else None
    return exponential is not None and exponential.op == "Exp" and exponential.input[0] == x


def minimum(graph: Graph, node: Any) -> bool:
    """min(a, b) as a - relu(a - b): the converter gives MINIMUM, and what is before it, one scale, that of the result.

    In min(0, exp(z) - 1), a CELU, the exponential of a large z would set the scale: it is taken of min(z, 0).
    """
    if node.attr["T"].type not in FLOATS or is_clipped_relu(graph, node):
        return False
    a, b = node.input
    if graph.value(a) is not None:
        a, b = b, a
    exponential = graph.behind(a, "Exp") if graph.value(b) == 0.0 else None
    if exponential is not None:
        z = exponential.input[0]
        upper = graph.add("Relu", f"{exponential.name}/upper", (z,), node)
        exponential.input[0] = graph.add("Sub", f"{exponential.name}/below", (z, upper), node)
        become(node, "Identity", (a,))
        return True
    over = graph.add("Sub", f"{node.name}/difference", (a, b), node)
    become(node, "Sub", (a, graph.add("Relu", f"{node.name}/over", (over,), node)))
    return True


def maximum(graph: Graph, node: Any) -> bool:
    """max(x, 0) as relu(x), max(x, ax) as a leaky one, any other as b + relu(a - b); see `_minimum`."""
    if node.attr["T"].type not in FLOATS:
        return False
    a, b = node.input
    if graph.value(a) is not None:
        a, b = b, a
    if graph.value(b) == 0.0:
        become(node, "Relu", (a,))
        return True
    if 0.0 < (graph.value(b) or 0.0) < _TINY and _is_never_negative(graph, graph.origin(a)):
        return False  # the result has the scale of what is clipped
    for x, scaled in ((a, b), (b, a)):
        slope = graph.factor(scaled, x)
        if slope is not None and 0.0 < slope < 1.0:
            become(node, "LeakyRelu", (x,))
            node.attr["alpha"].f = slope
            return True
    over = graph.add("Sub", f"{node.name}/difference", (a, b), node)
    become(node, "AddV2", (b, graph.add("Relu", f"{node.name}/over", (over,), node)))
    return True


def _is_never_negative(graph: Graph, made: Any) -> bool:
    while made is not None and made.op == "Sum":
        made = graph.origin(made.input[0])
    if made is None:
        return False
    return made.op in ("Sqrt", "Abs", "Relu", "Square") or (made.op == "Mul" and len(set(made.input)) == 1)


def is_clipped_relu(graph: Graph, node: Any) -> bool:
    """min(relu(x), 6), which the converter makes one operator."""
    made = [graph.nodes.get(node_name(source)) for source in node.input]
    return 6.0 in map(graph.value, node.input) and any(one is not None and one.op == "Relu" for one in made)
