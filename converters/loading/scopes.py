"""The layers of a graph that was not opened by Keras, found from its operations' names.

TensorFlow names an operation after the scopes it was made in: `StatefulPartitionedCall/model/block/conv/Relu` is part
of layer `block/conv`. A layer's output is the tensor that other scopes take from it.
"""

import re
from collections import Counter
from typing import Any

_CALLS = re.compile(r"^(?:Func/)?(?:Stateful)?PartitionedCall(?:_\d+)?$")
# Scopes that Keras layers and TensorFlow functions open inside a layer.
_INNER = re.compile(r"^(batchnorm|moments|Tensordot|strided_slice|separable_conv2d|Reshape|resize|Cast|einsum)(_\d+)?$")
_NOT_COMPUTED = frozenset({"Const", "Placeholder", "NoOp", "Identity"})


def layer_tensors(graph: Any) -> dict[str, Any]:
    """The layers of a frozen graph in execution order, with the tensor each puts out."""
    found: dict[tuple[str, ...], Any] = {}
    for operation in graph.get_operations():
        scope = _layer_scope(operation)
        if scope and _is_taken_elsewhere(operation, scope):
            found.pop(scope, None)  # the last such operation of a layer is its output
            found[scope] = operation.outputs[0]
    return dict(zip(_names(list(found)), found.values(), strict=True))


def layer_scope(operation: str) -> str:
    """The scope of the layer that an operation of this name belongs to."""
    parts = operation.split("/")[:-1]
    while parts and _INNER.match(parts[-1]):
        parts.pop()
    return "/".join(parts)


def layer_around(operation: str) -> str:
    """The layer that an operation of this name belongs to, inside loops and functions too; empty if none is named."""
    parts = [part for part in operation.split("/") if not _CALLS.match(part)]
    return parts[1] if len(parts) > 2 else ""


def _layer_scope(operation: Any) -> tuple[str, ...]:
    if operation.type in _NOT_COMPUTED or not operation.outputs or not operation.outputs[0].dtype.is_floating:
        return ()
    parts = [part for part in layer_scope(operation.name).split("/") if not _CALLS.match(part)]
    return tuple(parts[1:])  # the first is the model


def _is_taken_elsewhere(operation: Any, scope: tuple[str, ...]) -> bool:
    consumers = operation.outputs[0].consumers()
    return any(consumer.type == "Identity" or _layer_scope(consumer) != scope for consumer in consumers)


def _names(scopes: list[tuple[str, ...]]) -> list[str]:
    # Keras 3 numbers a layer's scopes by call: in an export all end in `_1`.
    if scopes and all(part.endswith("_1") for scope in scopes for part in scope):
        scopes = [tuple(part[:-2] for part in scope) for scope in scopes]
    own_names = Counter(scope[-1] for scope in scopes)
    return [scope[-1] if own_names[scope[-1]] == 1 else "/".join(scope) for scope in scopes]
