"""Recurrent layers of a model that is loaded, made so that they can be converted: step by step, or LSTMs marked.

TensorFlow's calibrator crashes the process on loops, and inside one nothing could be cut. A marked LSTM stays a loop,
of which `converters.fused_lstm` makes one operator; a hundred steps one by one take many times as long to convert.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# In the name of an operation that passes on an LSTM's result, its weights and what it was given.
SEQUENCE_MARK, LAST_MARK = "tflsplit_lstm_sequence", "tflsplit_lstm_last"


def prepare(model: Any, tf: Any) -> None:
    """`tf` is TensorFlow, or what the caller loads it by."""
    for layer in model._flatten_layers():
        if getattr(layer, "unroll", None) is None:
            continue
        if not layer.unroll:
            _unroll(layer)
        if _is_plain_lstm(layer):
            layer.unroll = False
            _mark(layer, tf)


def unroll(model: Any) -> bool:
    """Makes marked LSTMs go step by step, of which no operator could be made; whether any was a loop."""
    loops = [layer for layer in model._flatten_layers() if _is_plain_lstm(layer) and not layer.unroll]
    for layer in loops:
        layer.unroll = True
    return bool(loops)


def leave_state_to_operators(model: Any) -> None:
    """Makes LSTM layers that keep their state in variables such that begin each run anew, as the operator that one
    becomes is described; what the operator keeps is the same. Others stay as they are, and are refused for it."""
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False) and _is_lstm(layer):
            layer.stateful = False


def unrolled(model: Any) -> list[str]:
    """The names of layers of which no operator could be made, and so nothing that keeps its state."""
    return [
        str(layer.name)
        for layer in model._flatten_layers()
        if getattr(layer, "unroll", None) is not None and not _is_plain_lstm(layer)
    ]


def is_marked(operation: Any) -> bool:
    """Of an operation or a node of a graph."""
    return SEQUENCE_MARK in operation.name or LAST_MARK in operation.name


def _unroll(layer: Any) -> None:
    layer.unroll = True
    for fused in ("_could_use_gpu_kernel", "use_cudnn"):  # tf-keras decided for its fused loop when it was built
        if hasattr(layer, fused):
            setattr(layer, fused, False)
    cells = getattr(layer.cell, "cells", None)
    if cells is not None and len(cells) == 1:
        # Unrolled, Keras 3 loses the second state of a stack of one; past the guard of a layer that is built.
        object.__setattr__(layer, "cell", cells[0])
    for cell in cells or (layer.cell,):
        _simplify(cell)


def _simplify(cell: Any) -> None:
    # Gates computed one by one: from a joint matrix product the first step leaves the forget gate unused (there is
    # nothing to forget yet), and the converter keeps a split with an unused part in float.
    if getattr(cell, "implementation", None) == 2:
        cell.implementation = 1
    # They do nothing in a finished model, and in Keras 3 draw random numbers all the same.
    for rate in ("dropout", "recurrent_dropout"):
        if hasattr(cell, rate):
            setattr(cell, rate, 0.0)


def _is_plain_lstm(layer: Any) -> bool:
    """Whether TensorFlow Lite's operator computes what the layer does in each run."""
    return _is_lstm(layer) and not layer.stateful


def _is_lstm(layer: Any) -> bool:
    """Whether it has the operator's own class, activations and one result."""
    kind, cell = type(layer), getattr(layer, "cell", None)
    if cell is None:
        return False
    return (
        kind.__name__ == "LSTM"
        and kind.__module__.split(".")[0] in ("keras", "tf_keras")
        and getattr(cell.activation, "__name__", "") == "tanh"
        and getattr(cell.recurrent_activation, "__name__", "") == "sigmoid"
        and not (layer.return_state or getattr(layer, "time_major", False))
    )


def _mark(layer: Any, tf: Any) -> None:
    original, is_backward = layer.call, layer.go_backwards

    def call(given: Any, *others: Any, **named: Any) -> Any:
        if others or any(named.get(key) is not None for key in ("mask", "initial_state")) or not tf.is_tensor(given):
            with _set(layer, unroll=True):
                return original(given, *others, **named)
        given = tf.reverse(given, [1]) if is_backward else tf.identity(given)
        cell = layer.cell
        with _set(layer, go_backwards=False):
            result = original(given, **named)
        if not layer.unroll:  # of a loop's result only the loop knows the shape
            steps = given.shape[1:2] if layer.return_sequences else []
            result = tf.ensure_shape(result, (given.shape[0], *steps, cell.units))
        bias = cell.bias if cell.use_bias else tf.zeros(4 * cell.units)
        weights = [tf.convert_to_tensor(weight) for weight in (cell.kernel, cell.recurrent_kernel, bias)]
        name = SEQUENCE_MARK if layer.return_sequences else LAST_MARK
        return tf.identity_n([result, *weights, given], name=name)[0]

    object.__setattr__(layer, "call", call)  # past the guard of a layer that is built


@contextmanager
def _set(layer: Any, **values: bool) -> Iterator[None]:
    before = {name: getattr(layer, name) for name in values}
    for name, value in values.items():
        setattr(layer, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(layer, name, value)
