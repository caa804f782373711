"""Layers that draw random numbers to change what goes through them, as augmentation does: left out.

They act in training alone, but Keras 3 leaves them on in what `model.export` writes. Such a layer has one input that
samples have a part in, and one output of its shape and type; whatever else draws random numbers is not touched.
"""

import re
from collections.abc import Sequence
from typing import Any

from converters.loading.frozen.graph import Graph, become, needed, scopes_of

RANDOM = re.compile(r"(Stateless|Stateful)?(Random|Truncated|ParameterizedTruncated|Multinomial)\w*|RngReadAndSkip")


def left_out(function: Any) -> tuple[Any, tuple[str, ...]]:
    """A frozen function without such layers, and the name of an operation in each; itself where there are none."""
    found = _next(needed(function))
    if found is None:
        return function, ()
    operation, source, result = found
    graph = Graph(function)
    end = graph.nodes[result.op.name]
    become(end, "Identity", (source.name,))
    end.attr["T"].type = source.dtype.as_datatype_enum
    made, others = left_out(graph.function())
    return made, (operation, *others)


def _next(used: Sequence[Any]) -> tuple[str, Any, Any] | None:
    """Of the first such layer an operation, the tensor that it takes and the one that it gives."""
    sampled = _sampled(used)
    for operation in used:
        for scope in scopes_of(operation.name) if RANDOM.fullmatch(operation.type) else ():
            inside = [one for one in used if one.name.startswith(f"{scope}/")]
            sources = {
                tensor.name: tensor
                for one in inside
                for tensor in one.inputs
                if tensor.op.name in sampled and not tensor.op.name.startswith(f"{scope}/")
            }
            results = {
                tensor.name: tensor
                for one in used
                for tensor in one.inputs
                if not one.name.startswith(f"{scope}/") and tensor.op.name.startswith(f"{scope}/")
            }
            pair = (*sources.values(), *results.values())
            if len(sources) == len(results) == 1 and _is_alike(*pair):
                return operation.name, *pair
    return None


def _sampled(used: Sequence[Any]) -> set[str]:
    """The operations that inputs of the model have a part in."""
    users: dict[str, list[str]] = {}
    for one in used:
        for tensor in one.inputs:
            users.setdefault(tensor.op.name, []).append(one.name)
    waiting = [one.name for one in used if one.type == "Placeholder"]
    seen = set(waiting)
    for name in waiting:  # grows while it is read
        new = [user for user in users.get(name, ()) if user not in seen]
        seen.update(new)
        waiting += new
    return seen


def _is_alike(source: Any, result: Any) -> bool:
    return bool(source.dtype == result.dtype and source.shape.is_compatible_with(result.shape))
