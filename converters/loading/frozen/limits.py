"""What no int8 model can do, found in a traced graph before anything is made of it: one line names layer and remedy.

TensorFlow's converter refuses these with tracebacks of its own, or its calibrator ends the process.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tflsplit import errors

LayerOf = Callable[[str], str]

_TABLES = re.compile(r"(LookupTable|HashTable|MutableHashTable|InitializeTable)\w*")
_LOOPS = frozenset({"While", "StatelessWhile", "LoopCond"})
_CHOICES = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "Switch", "RefSwitch"})
_RANDOM = re.compile(r"(Stateless|Stateful)?(Random|Truncated|ParameterizedTruncated|Multinomial)\w*|RngReadAndSkip")
_KEPT = re.compile(r"Assign\w*VariableOp|ResourceScatter\w*")
_TEXT = "int8 models take numbers alone: do the look-up before the model, and convert what comes behind it"

# Kind of operation, what the model does with it, and what to do.
_REFUSED = (
    (_TABLES.fullmatch, "looks values up in a table", _TEXT),
    (_RANDOM.fullmatch, "draws random numbers in every run", "build it with training=False, or without that layer"),
    (_CHOICES.__contains__, "computes one of two things", "build it for inference, with the one that is wanted"),
)


def check_kept(graph: Any, layer_of: LayerOf, file: str) -> None:
    """ModelError for a variable that a run changes, before the variables of the graph become constants.

    Operations in functions that the graph calls have no layers.
    """
    called = [node for function in graph.as_graph_def().library.function for node in function.node_def]
    kinds = [*((one.name, one.type) for one in graph.get_operations()), *((node.name, node.op) for node in called)]
    for name, kind in kinds:
        if _KEPT.fullmatch(kind):
            raise errors.ModelError(
                f"{file}: {_words(layer_of(name))} keeps values from one run to the next ({kind}); build it without "
                "stateful=True (an LSTM: or convert with --stateful), training=True or the like, or with its state as "
                "an input and an output"
            )


def check(function: Any, layer_of: LayerOf, file: str, *, is_keras: bool) -> None:
    """ModelError for an operation that a frozen function needs for its outputs and that cannot be converted.

    `layer_of` names the layer of an operation by its name; `is_keras` says that recurrent layers were unrolled.
    """
    needed = _needed(function)
    for operation in needed:  # first of all: a loop is made of choices
        if operation.type in _LOOPS:
            other = "the .keras or .h5 file, whose recurrent layers are unrolled"
            remedy = "write its steps out, one after the other" if is_keras else f"give {other}"
            raise errors.ModelError(
                f"{file}: {_words(layer_of(operation.name))} has a loop ({operation.name}), which cannot be "
                f"calibrated; {remedy}"
            )
    settled = {operation for operation in needed if _is_settled(operation)}
    for operation in needed:
        for is_kind, does, remedy in _REFUSED:
            # Behind a choice that is settled, the converter leaves out what is not chosen.
            if is_kind(operation.type) and operation not in settled and not (settled and is_kind == _RANDOM.fullmatch):
                where = _words(layer_of(operation.name))
                raise errors.ModelError(f"{file}: {where} {does} ({operation.type}); {remedy}")


def _is_settled(operation: Any) -> bool:
    """Whether a choice is the same for all inputs: made by constants, or by shapes, which are fixed."""
    if operation.type not in _CHOICES:
        return False
    waiting = [operation.inputs[1 if "Switch" in operation.type else 0].op]
    seen = set(waiting)
    for one in waiting:  # grows while it is read
        if one.type == "Placeholder":
            return False
        sources = [] if one.type in ("Shape", "Rank", "Size") else [tensor.op for tensor in one.inputs]
        waiting += [source for source in sources if source not in seen]
        seen.update(sources)
    return True


_NODE = re.compile(r"Input \d+ of node (\S+) was passed")


def unfrozen(cause: ValueError, layer_of: LayerOf, file: str) -> errors.ModelError:
    """Why the variables of a model could not become constants: something in it changes one where nobody looks."""
    found = _NODE.search(str(cause))
    where = _words(layer_of(found[1])) if found else "the model"
    return errors.ModelError(
        f"{file}: {where} changes a variable while it runs, so it cannot become constant; build the model without it, "
        "or for inference"
    )


def _needed(function: Any) -> list[Any]:
    """The operations that the outputs are computed from."""
    waiting = [tensor.op for tensor in function.outputs]
    seen = {operation.name for operation in waiting}
    for operation in waiting:  # grows while it is read
        for source in (tensor.op for tensor in operation.inputs):
            if source.name not in seen:
                seen.add(source.name)
                waiting.append(source)
    return waiting


def _words(layer: str) -> str:
    return f"layer {layer!r}" if layer else "the model"


def layer_of(graph: Any, operation: str, taps: Sequence[tuple[str, str]]) -> str:
    """The layer that an operation is part of; `taps` are layers with the operation that gives their output, in order.

    By the scope that the layer opened, else as the first layer whose output is computed from it; empty if unknown.
    """
    made_by = {made: layer for layer, made in taps}
    if operation in made_by:
        return made_by[operation]
    inside: dict[str, set[str]] = {}
    for layer, made in taps:
        for scope in _scopes(made):
            inside.setdefault(scope, set()).add(layer)
    for scope in _scopes(operation):
        layers = inside.get(scope, set())
        own = scope.rpartition("/")[2]
        named = layers & {own, re.sub(r"_\d+$", "", own)}  # Keras 3 numbers a layer's scopes by call
        if named or len(layers) == 1:  # the scope of several layers is that of the model, or of a layer around them
            return next(iter(named or layers))
    return next((made_by[name] for name in _behind(graph, operation) if name in made_by), "")


def _scopes(operation: str) -> Iterator[str]:
    """Those around an operation, the innermost first."""
    while "/" in operation:
        operation = operation.rpartition("/")[0]
        yield operation


def _behind(graph: Any, operation: str) -> Iterator[str]:
    """Operations computed from this one, nearest first."""
    try:
        waiting = [graph.get_operation_by_name(operation)]
    except KeyError:
        return
    seen = {operation}
    for one in waiting:  # grows while it is read
        yield one.name
        for user in (user for output in one.outputs for user in output.consumers()):
            if user.name not in seen:
                seen.add(user.name)
                waiting.append(user)
