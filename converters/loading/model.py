"""A loaded model, from any kind of file: its inputs, and the frozen graph that everything else is made from."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from converters.amending import recurrence
from converters.loading import quiet, tracing
from converters.loading.inputs import Input
from converters.loading.tracing import Call, Tap, Trace
from tflsplit import errors
from tflsplit.graph.tensors import Array, TensorSpec, quantise
from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class Normalisation:
    """A batch normalisation: the tensor it normalises, with channels last, and the mean and variance that training
    stored (tensors too)."""

    layer: str
    source: Any
    mean: Any
    variance: Any


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """`call` runs the model on tensors, one for each input. `keras_model` is None where no Keras opened it. `notes` say
    what was changed in opening it. `floats` are the `.tflite` files in float that it was quantised from: with each LSTM
    as one operator (True), and with none."""

    path: Path
    format: str
    loader: str
    inputs: tuple[Input, ...]
    output_names: tuple[str, ...]
    call: Callable[..., Any]
    keras_model: Any = None
    bases: tuple[type, ...] = ()
    notes: tuple[str, ...] = ()
    floats: dict[bool, bytes] = field(default_factory=dict)

    @cached_property
    def trace(self) -> Trace:
        """The frozen graph, made on first use."""
        tf = quiet.tensorflow()
        with quiet.silenced(), _unrunnable_is_ours(self.path):
            specs = self.specs(tf)
            if self.keras_model is None:
                made = tracing.trace_function(self.call, specs, str(self.path))
            else:
                made = tracing.trace_keras(self.keras_model, self.bases, self.call, specs, str(self.path))
        quiet.give_back_memory()
        return made

    def unroll(self) -> None:
        """Has the model traced anew with each step of its LSTMs, which could not become operators."""
        if recurrence.unroll(self.keras_model):
            vars(self).pop("trace", None)

    def specs(self, tf: Any, *, batch: int = 1) -> list[Any]:
        """TensorFlow's descriptions of the inputs, for tracing."""
        return [
            tf.TensorSpec((batch, *entry.shape[1:]), entry.dtype, name=re.sub(r"\W", "_", entry.name))
            for entry in self.inputs
        ]

    def concrete_function(self) -> Any:
        """The model for one sample with its weights as constants, as the converter takes it."""
        return self.trace.function

    @property
    def layers(self) -> tuple[Tap, ...]:
        """Every layer output in execution order, inner layers of nested models included."""
        return self.trace.taps

    def predict(self, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """Float outputs for samples: one array (samples, …) for each input, in order, in real values."""
        return joined([self.trace.run(sample) for sample in samples_of(arrays)])

    def normalisations(self, *tensors: Any) -> tuple[Normalisation, ...]:
        """The batch normalisations that running the model on `tensors` passes; meant for use inside a trace."""
        made: list[Call] = []
        if self.keras_model is not None:
            with tracing.recorded_calls(self.keras_model, self.bases, made):
                self.call(*tensors)
        return tuple(
            Normalisation(one.path[-1], _channels_last(one), one.layer.moving_mean, one.layer.moving_variance)
            for one in made
            if hasattr(one.layer, "moving_mean")
        )

    @cached_property
    def has_trained_normalisation(self) -> bool:
        """Whether batch normalisations hold statistics: untrained ones have mean 0 and variance 1 throughout."""
        return any(
            np.any(layer.moving_mean.numpy()) or np.any(layer.moving_variance.numpy() != 1.0)
            for layer in self._keras_layers()
            if hasattr(layer, "moving_mean")
        )

    @property
    def table_sizes(self) -> Mapping[str, int]:
        """By input: how many rows the smallest table has that it is an index into."""
        tensors = self.concrete_function().inputs
        found = {entry.name: _table_size(tensor) for entry, tensor in zip(self.inputs, tensors, strict=True)}
        return {name: size for name, size in found.items() if size}

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the convolutions and dense layers for one sample."""
        return sum(_macs(operation) for operation in self.concrete_function().graph.get_operations())

    def _keras_layers(self) -> Sequence[Any]:
        return () if self.keras_model is None else tuple(self.keras_model._flatten_layers())


def _channels_last(call: Call) -> Any:
    """What a normalisation takes, with the axis that it normalises by at the end."""
    axis = call.layer.axis
    (axis,) = axis if isinstance(axis, list | tuple) else (axis,)
    rank = len(call.source.shape)
    others = [place for place in range(rank) if place != axis % rank]
    return call.source if axis % rank == rank - 1 else quiet.tensorflow().transpose(call.source, [*others, axis % rank])


def _table_size(tensor: Any) -> int | None:
    """Through sums and choices of indices to the tables that they look up."""
    sizes, waiting, seen = [], [tensor] if tensor.dtype.is_integer else [], set()
    while waiting:
        index = waiting.pop()
        for user in index.consumers():
            if user.type == "GatherV2" and user.inputs[1] is index:
                sizes.append(user.inputs[0].shape[0])
            elif user.name not in seen:
                seen.add(user.name)
                waiting += [output for output in user.outputs if output.dtype.is_integer]
    return min((size for size in sizes if size), default=None)


def _macs(operation: Any) -> int:
    if recurrence.is_marked(operation):
        _, kernel, recurrent, _, given = (tensor.shape for tensor in operation.inputs)
        return int(given[1] * (math.prod(kernel) + math.prod(recurrent)))
    if operation.type not in ("Conv2D", "DepthwiseConv2dNative", "MatMul"):
        return 0
    kernel, output = operation.inputs[1].shape, operation.outputs[0].shape
    if None in (kernel.rank, output.rank) or None in (*kernel, *output):
        return 0
    each = {"Conv2D": math.prod(kernel[:-1]), "DepthwiseConv2dNative": math.prod(kernel[:2]), "MatMul": kernel[0]}
    return int(math.prod(output) * each[operation.type])


def samples_of(arrays: Sequence[Array]) -> list[tuple[Array, ...]]:
    """Arrays (samples, …) as one tuple of (1, …) arrays for each sample."""
    return [tuple(array[index : index + 1] for array in arrays) for index in range(len(arrays[0]))]


def stored_samples(arrays: Sequence[Array], specs: Sequence[TensorSpec]) -> list[tuple[Array, ...]]:
    """Each sample of real values as the model with these inputs stores it."""
    return [
        tuple(quantise(array, spec).reshape(spec.shape) for array, spec in zip(sample, specs, strict=True))
        for sample in samples_of(arrays)
    ]


def joined(rows: Sequence[Sequence[Array]]) -> tuple[Array, ...]:
    """The outputs of several samples as one array (samples, …) for each output."""
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


@contextmanager
def _unrunnable_is_ours(path: Path) -> Iterator[None]:
    try:
        yield
    except errors.TflsplitError:
        raise
    except Exception as cause:
        raise errors.ModelError(f"{path}: cannot be run on its own input shape ({quiet.reason(cause)})") from cause
