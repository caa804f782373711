"""What no int8 model can do, found in a traced graph before anything is made of it: one line names layer and remedy.

TensorFlow's converter refuses these with tracebacks of its own, or its calibrator ends the process.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from converters.loading.frozen.augmentation import RANDOM
from converters.loading.frozen.graph import needed, needed_for, scopes_of
from tflsplit import errors

LayerOf = Callable[[str], str]

_TABLES = re.compile(r"(LookupTable|HashTable|MutableHashTable|InitializeTable)\w*")
_LOOPS = frozenset({"While", "StatelessWhile", "LoopCond"})
_CHOICES = frozenset({"If", "StatelessIf", "Case", "StatelessCase", "Switch", "RefSwitch"})
_TEXT = "int8 models take numbers alone: do the look-up before the model, and convert what comes behind it"
_KERAS_FILE = "the .keras or .h5 file"


def check(
    function: Any, layer_of: LayerOf, file: str, *, is_keras: bool, written: Mapping[str, tuple[str, str]]
) -> None:
    """ModelError for an operation that a frozen function needs for its outputs and that cannot be converted.

    `layer_of` names the layer of an operation by its name; `is_keras` says that recurrent layers were unrolled.
    `written` has the variables that a run changes (`converters.loading.frozen.kept`), with layer and operation.
    """
    used = needed(function)
    settled = {operation for operation in used if _is_settled(operation)}
    inference = "build it with training=False, or without that layer"
    if not settled:  # behind a choice that is settled, the converter leaves out what is not chosen
        drawing = inference if is_keras else f"give {_KERAS_FILE}, or {inference}"
        _refuse(used, RANDOM.fullmatch, f"draws random numbers in every run ({{}}); {drawing}", layer_of, file)
    for name in {operation.name for operation in used}.intersection(written):
        layer, kind = written[name]
        raise errors.ModelError(
            f"{file}: {_words(layer)} keeps values from one run to the next ({kind}); build it without "
            "stateful=True (an LSTM: or convert with --stateful), training=True or the like, or with its state as "
            "an input and an output"
        )
    loops = (
        "write its steps out, one after the other"
        if is_keras
        else f"give {_KERAS_FILE}, whose recurrent layers are unrolled"
    )
    # Before choices: a loop is made of them.
    _refuse(used, _LOOPS.__contains__, f"has a loop ({{}}), which cannot be calibrated; {loops}", layer_of, file)
    _refuse(used, _TABLES.fullmatch, f"looks values up in a table ({{}}); {_TEXT}", layer_of, file)
    unsettled = [operation for operation in used if operation not in settled]
    wanted = "build it for inference, with the one that is wanted"
    _refuse(unsettled, _CHOICES.__contains__, f"computes one of two things ({{}}); {wanted}", layer_of, file)


def check_ends(function: Any, results: int, file: str) -> None:
    """ModelError for a float input that no result is computed from, or a float result that no input has a part in: the
    converter leaves both in float. The first `results` outputs are the model's."""
    used = needed_for(function.outputs[:results])
    for tensor in function.inputs:
        if tensor.dtype.is_floating and tensor.op not in used:
            raise errors.ModelError(
                f"{file}: input {tensor.op.name!r} has no part in any result; build the model without it"
            )
    for place, tensor in enumerate(function.outputs[:results]):
        is_fixed = all(operation.type != "Placeholder" for operation in needed_for([tensor]))
        if tensor.dtype.is_floating and is_fixed:
            raise errors.ModelError(
                f"{file}: output {place} of {results}, counted from 0, is the same for all inputs; build "
                "the model without it"
            )


def _refuse(used: Sequence[Any], is_kind: Callable[[str], Any], words: str, layer_of: LayerOf, file: str) -> None:
    """ModelError if there is an operation of this kind; its kind goes into `words`."""
    for operation in used:
        if is_kind(operation.type):
            raise errors.ModelError(f"{file}: {_words(layer_of(operation.name))} {words.format(operation.type)}")


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
        for scope in scopes_of(made):
            inside.setdefault(scope, set()).add(layer)
    for scope in scopes_of(operation):
        layers = inside.get(scope, set())
        own = scope.rpartition("/")[2]
        named = layers & {own, re.sub(r"_\d+$", "", own)}  # Keras 3 numbers a layer's scopes by call
        if named or len(layers) == 1:  # the scope of several layers is that of the model, or of a layer around them
            return next(iter(named or layers))
    return next((made_by[name] for name in _behind(graph, operation) if name in made_by), "")


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
