"""Attention masks: scores that a softmax shall not see, made as low as they need to be and no lower.

They are commonly set to -1e9, or lowered by it. In int8 that is the scale of all scores, which leaves those that count
no steps. 16 below the least score of its row gives the same: e^-16 is float32's last digit.
"""

from typing import Any

import numpy as np

from converters.loading.frozen.graph import Graph

_LOW = -1e3  # no score is as low by itself; masks of float16 models have -6e4
_BELOW = 16.0


def softmax(graph: Graph, node: Any) -> bool:
    """Softmax of select(mask, x, -1e9), of select(mask, x - 1e9, x) and of x - 1e9 * mask, in whatever order."""
    found = _masked(graph, graph.origin(node.input[0]))
    if found is None:
        return False
    x, mask, keeps = found
    axis = graph.held(f"{node.name}/axis", np.asarray([-1], np.int32))
    least = graph.add("Min", f"{node.name}/least", (x, axis), node)
    graph.nodes[least].attr["keep_dims"].b = True
    graph.nodes[least].attr["Tidx"].type = 3  # DataType of int32
    below = graph.constant(f"{node.name}/below", _BELOW, node)
    low = graph.add("Sub", f"{node.name}/low", (least, below), node)
    chosen = (mask, x, low) if keeps else (mask, low, x)
    node.input[0] = graph.add("SelectV2", f"{node.name}/masked", chosen, node)
    return True


def _masked(graph: Graph, made: Any) -> tuple[str, str, bool] | None:
    """The scores, the mask, and whether it is true where scores are kept."""
    if made is None:
        return None
    if made.op in ("Select", "SelectV2"):
        mask, chosen, other = made.input
        for kept, lowered, keeps in ((chosen, other, True), (other, chosen, False)):
            if _is_low(graph, lowered) or _lowered(graph, lowered) == kept:
                return kept, mask, keeps
    if made.op in ("AddV2", "Add", "Sub"):
        pairs = [(made.input[0], made.input[1])]
        pairs += [] if made.op == "Sub" else [(made.input[1], made.input[0])]
        for x, added in pairs:
            if (mask := _mask(graph, added, -1.0 if made.op == "Sub" else 1.0, made.name)) is not None:
                return x, *mask
    return None


def _is_low(graph: Graph, source: str) -> bool:
    held = graph.array(source)
    return held is not None and held.dtype.kind == "f" and bool(np.all(held <= _LOW))


def _lowered(graph: Graph, source: str) -> str | None:
    """What a large number was taken from, to give this tensor."""
    made = graph.origin(source)
    if made is None or made.op not in ("AddV2", "Add", "Sub"):
        return None
    first, second = made.input
    sign = -1.0 if made.op == "Sub" else 1.0
    if (held := graph.array(second)) is not None and np.all(sign * held <= _LOW):
        return str(first)
    return str(second) if sign > 0 and _is_low(graph, first) else None


def _mask(graph: Graph, added: str, sign: float, name: str) -> tuple[str, bool] | None:
    """The mask in what is added to scores, and whether it is true where they are kept."""
    held = graph.array(added)
    if held is not None:
        is_low = sign * held <= _LOW
        is_mask = is_low.any() and np.all(is_low | (held == 0))
        return (graph.held(f"{name}/mask", is_low), False) if is_mask else None
    factor, factored = graph.scaled(added)
    if sign * factor > _LOW:
        return None
    made = graph.origin(factored)
    keeps = made is not None and made.op == "Sub" and graph.value(made.input[0]) == 1.0
    made = graph.origin(made.input[1]) if keeps else made
    is_truth = made is not None and made.op == "Cast" and made.attr["SrcT"].type == 10  # DataType of bool
    return (str(made.input[0]), keeps) if is_truth else None
