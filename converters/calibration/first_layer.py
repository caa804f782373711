"""What a model makes of inputs at its two ends: what its first layer with weights takes in and puts out, what the first
batch normalisations see beside what they saw in training, and its results before they are squashed.

It is the same for Keras models and SavedModels, whose frozen graph is looked at, and for float `.tflite` files.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache, partial
from itertools import islice
from typing import Any

import numpy as np

from converters.amending import recurrence
from converters.loading import quiet
from converters.loading.model import LoadedModel, samples_of
from converters.unquantised import WEIGHTED, FloatFile
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

# As TensorFlow calls those that `WEIGHTED` names.
_WEIGHTED = frozenset({"Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3D", "MatMul", "BatchMatMulV2"})
_ADDING = frozenset({"BiasAdd", "AddV2", "Add"})
# What may stand behind the last layer with weights and says nothing of its scale.
_SQUASHING = frozenset({"Identity", "Softmax", "LogSoftmax", "Sigmoid", "Tanh", "Reshape", "Squeeze"})
# Near the input they tell its scale; deeper ones tell its content, and pictures of ours are not those of the training.
_NORMALISATIONS = 3


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a batch normalisation, an entry a channel: what training stored, and what it sees now."""

    stored_mean: Array
    stored_deviation: Array
    mean: Array
    deviation: Array


@dataclass(frozen=True, slots=True)
class View:
    """`entering` and `leaving` the first layer are (samples, …)."""

    entering: Array
    leaving: Array
    normalisations: tuple[Statistics, ...]


@dataclass(frozen=True, slots=True)
class Look:
    """`at` and `results`, of the whole model, take real values, (samples, …) for each input. `has_statistics` says if
    views have any."""

    at: Callable[[Sequence[Array]], View]
    results: Callable[[Sequence[Array]], Array]
    has_statistics: bool


@lru_cache(maxsize=1)  # what infers how a model takes pixels, and what warns of data that do not fit, look at the same
def look_at(model: LoadedModel) -> Look | None:
    """None for a model without a layer with weights."""
    return _of_file(model.data) if isinstance(model, FloatFile) else _of_graph(model)


def _of_file(data: bytes) -> Look | None:
    graph = flatgraph.read(data)
    reached, weighted = set(graph.inputs), []
    for operator in graph.operators:
        if reached.intersection(operator.inputs):
            reached.update(operator.outputs)
            weighted += [operator] if operator.name in WEIGHTED else []
    if not weighted:
        return None
    taken = next(index for index in weighted[0].inputs if index in reached)
    near, end = (taken, weighted[0].outputs[0]), (weighted[-1].outputs[0],)

    def run(arrays: Sequence[Array], tensors: Sequence[int]) -> list[Array]:
        rows = []
        with quiet.silenced(), Interpreter(data, keeps_intermediates=True, threads=2) as opened:
            for sample in samples_of(arrays):
                fitting = zip(sample, opened.inputs, strict=True)
                opened.run(*[array.reshape(spec.shape).astype(spec.dtype) for array, spec in fitting])
                rows.append([opened.tensor(index).copy() for index in tensors])
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def look(arrays: Sequence[Array]) -> View:
        entering, leaving = run(arrays, near)
        return View(entering, leaving, ())

    return Look(look, lambda arrays: run(arrays, end)[0], has_statistics=False)


def _of_graph(model: LoadedModel) -> Look | None:
    function = model.concrete_function()
    reached = _reached(function)
    computed = {tensor.name for operation in reached for tensor in operation.outputs}
    computed |= {tensor.name for tensor in function.inputs}
    first = next((one for one in reached if one.type in _WEIGHTED or recurrence.is_marked(one)), None)
    if first is None:
        return None
    if recurrence.is_marked(first):
        taken, leaving = _into_gates(function, first)
    else:
        taken = next(tensor for tensor in first.inputs if tensor.name in computed)
        leaving = _with_bias(first.outputs[0], computed)
    stored = list(islice(_stored(function, reached, computed), _NORMALISATIONS))
    near = [taken, leaving, *(one.source for one in stored)]
    # Whoever asks for statistics alone runs no more than what stands before them.
    seen = cache(partial(function.prune, function.inputs, near))
    whole = cache(partial(function.prune, function.inputs, [_unsquashed(function.outputs[0])]))

    def run(part: Any, arrays: Sequence[Array]) -> list[Array]:
        tf = quiet.tensorflow()
        with quiet.silenced():
            rows = [[entry.numpy() for entry in part(*map(tf.constant, sample))] for sample in samples_of(arrays)]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def look(arrays: Sequence[Array]) -> View:
        entering, leaving, *sources = run(seen(), arrays)
        return View(entering, leaving, tuple(map(_statistics, stored, sources)))

    return Look(look, lambda arrays: run(whole(), arrays)[0], has_statistics=bool(stored))


def _reached(function: Any) -> list[Any]:
    """The operations that the inputs have a part in, in the order of the graph."""
    found = {tensor.name for tensor in function.inputs}
    reached = []
    for operation in function.graph.get_operations():
        if any(tensor.name in found for tensor in operation.inputs):
            found.update(tensor.name for tensor in operation.outputs)
            reached.append(operation)
    return reached


def _into_gates(function: Any, lstm: Any) -> tuple[Any, Any]:
    """What an LSTM is given, and what that is before its gates. It stays a loop, inside which nothing can be seen."""
    _, kernel, _, bias, given = lstm.inputs
    with function.graph.as_default():
        return given, quiet.tensorflow().matmul(given, kernel) + bias


def _with_bias(tensor: Any, computed: set[str]) -> Any:
    users = [user for user in tensor.consumers() if user.type in _ADDING]
    is_bias = len(users) == 1 and sum(entry.name in computed for entry in users[0].inputs) == 1
    return users[0].outputs[0] if is_bias else tensor


def _unsquashed(tensor: Any) -> Any:
    while tensor.op.type in _SQUASHING and tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor


@dataclass(frozen=True, slots=True)
class _Stored:
    """A batch normalisation's source (a tensor), the axis of its channels, and what training stored of each."""

    source: Any
    axis: int
    mean: Array
    deviation: Array


def _stored(function: Any, reached: Sequence[Any], computed: set[str]) -> Iterator[_Stored]:
    """Each batch normalisation that was trained."""

    def value(tensor: Any) -> Array:
        tf = quiet.tensorflow()
        held: Array | None = tf.get_static_value(tensor)
        if held is None:
            # No input has a part in it, but what is read from a SavedModel may wait for one.
            nothing = [tf.zeros(entry.shape, entry.dtype) for entry in function.inputs]
            held = function.prune(function.inputs, [tensor])(*nothing)[0].numpy()
        return held

    for operation in reached:
        found = None
        if operation.type.startswith("FusedBatchNorm"):
            source, _, _, mean, variance = operation.inputs
            axis = 1 if operation.get_attr("data_format") == b"NCHW" else source.shape.rank - 1
            if not {mean.name, variance.name} & computed:
                deviation = np.sqrt(value(variance) + operation.get_attr("epsilon"))
                found = _Stored(source, axis, value(mean), deviation)
        elif operation.type == "Mul":
            found = _written_out(operation, value, computed)
        if found is None or found.source.shape[found.axis] != found.mean.size:
            continue
        if np.any(found.mean) or np.abs(found.deviation - 1).max() > 0.01:  # else it was never trained
            yield found


def _written_out(product: Any, value: Callable[[Any], Array], computed: set[str]) -> _Stored | None:
    """x · factor, beside mean · factor, where factor is 1 / deviation, or that times gamma."""
    source, factor = sorted(product.inputs, key=lambda tensor: tensor.name not in computed)
    if factor.name in computed:
        return None
    inverse = next((one for one in (factor, *factor.op.inputs) if one.op.type == "Rsqrt"), None)
    of_mean = next((user for user in factor.consumers() if user is not product and user.type == "Mul"), None)
    if inverse is None or of_mean is None:
        return None
    mean = next((tensor for tensor in of_mean.inputs if tensor is not factor), None)
    if mean is None or mean.name in computed:
        return None
    held = value(mean)
    # Statistics of another axis than the last have the shape that spreads over it, as (1, 3, 1, 1).
    wide = [place - held.ndim for place, extent in enumerate(held.shape) if extent > 1]
    axis = source.shape.rank + (wide[0] if len(wide) == 1 else -1)
    return _Stored(source, axis, held.reshape(-1), 1 / value(inverse).reshape(-1))


def _statistics(stored: _Stored, values: Array) -> Statistics:
    axes = tuple(place for place in range(values.ndim) if place != stored.axis)
    return Statistics(stored.mean, stored.deviation, values.mean(axes), values.std(axes))
