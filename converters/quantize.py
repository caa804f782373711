"""The only door to TensorFlow's converter: a loaded model and samples in, one full-int8 `.tflite` out."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from converters import chatter
from converters.model import LoadedModel, samples_of
from tflsplit import errors, flatgraph
from tflsplit.flatgraph import Graph
from tflsplit.tensors import Array

_INTEGER_TYPES = frozenset({"int8", "uint8"})


def quantise(
    model: LoadedModel, samples: Sequence[Array], *, io_dtype: str = "int8", per_tensor_dense: bool = False
) -> bytes:
    """Convert with full-integer weights, activations, inputs and outputs, calibrated on `samples`.

    `samples` is one array (samples, …) of real values for each input, in order. `per_tensor_dense` gives dense layers
    one scale for all their weights, which the Edge TPU compiler needs. Raises ModelError naming the operators, and the
    layers they belong to, that int8 TFLite does not have.
    """
    tf = chatter.tensorflow()
    function = model.concrete_function()
    with chatter.silenced():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _representative(samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, io_dtype)
    # A name the converter keeps private; without it, TF >= 2.17 makes dense layers per-channel.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = per_tensor_dense
    with chatter.silenced():
        try:
            data = bytes(converter.convert())
        except Exception as cause:
            raise _as_model_error(cause, model) from cause
    check_is_integer(flatgraph.read(data, name=str(model.path)), str(model.path))
    return data


def _representative(samples: Sequence[Array]) -> Iterator[list[Array]]:
    for sample in samples_of(samples):
        yield [np.ascontiguousarray(array) for array in sample]


def _as_model_error(cause: Exception, model: LoadedModel) -> errors.ModelError:
    operators = _missing_operators(str(cause))
    if not operators:
        line = " ".join(str(cause).split())[:300] or type(cause).__name__
        return errors.ModelError(f"{model.path}: TensorFlow's converter refuses this model ({line})")
    words = [f"{name} ({_layers_with(model, name)})" for name in operators]
    return errors.ModelError(
        f"{model.path}: int8 TFLite has no {', '.join(words)}; replace what uses "
        f"{'them' if len(words) > 1 else 'it'} by layers it has"
    )


def _missing_operators(message: str) -> list[str]:
    """Operators that the converter's message complains of, in its words: `tf.Erf`, `Quantization not yet supported`."""
    found = re.findall(r"\btf\.([A-Z]\w+)\s*\(", message)
    found += re.findall(r"'tf\.([A-Z]\w+)' op", message)
    found += re.findall(r"[Nn]ot (?:yet )?supported for op: '?(\w+)", message)
    for listed in re.findall(r"(?:Flex|TF Select|Custom) ops: ([\w, ]+)", message):
        found += [name.strip() for name in listed.split(",")]
    return sorted({name.removeprefix("Flex") for name in found if name.strip()})


def _layers_with(model: LoadedModel, operator: str) -> str:
    """Where in the model a graph operation stands: the layer whose output it is or whose scope it is in."""
    wanted = operator.replace("_", "").lower()
    scopes = [
        operation.name
        for operation in model.concrete_function().graph.get_operations()
        if operation.type.lower().removesuffix("v2") == wanted.removesuffix("v2")
    ]
    layers = dict.fromkeys(_layer_of(model, name) for name in scopes)
    words = [layer for layer in layers if layer]
    return f"layer {', '.join(words[:3])}{' …' if len(words) > 3 else ''}" if words else "layer unknown"


def _layer_of(model: LoadedModel, operation: str) -> str:
    best, best_length = "", 0
    for tap in model.layers:
        scope = tap.operation.rsplit("/", 1)[0]
        if (operation == tap.operation or operation.startswith(f"{scope}/")) and len(scope) > best_length:
            best, best_length = tap.layer, len(scope)
    return best


def check_is_integer(graph: Graph, name: str) -> None:
    """Raise ModelError unless a `.tflite` is full int8 or uint8 with static shapes, saying what it is instead."""
    advice = "convert the Keras model it was made from with tflsplit"
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if tensor.type_name not in _INTEGER_TYPES | {"int32", "int64", "bool"}:
            raise errors.ModelError(
                f"{name}: tensor {tensor.name!r} is {tensor.type_name}, expected int8 or uint8; {advice}"
            )
    for operator in graph.operators:
        _check_operator(graph, operator, name, advice)


def _check_operator(graph: Graph, operator: Any, name: str, advice: str) -> None:
    for index in (index for index in (*operator.inputs, *operator.outputs) if index >= 0):
        tensor = graph.tensors[index]
        where = f"{name}: operator {operator.index} ({operator.name})"
        if tensor.is_dynamic:
            raise errors.ModelError(f"{where}: tensor {tensor.name!r} has a shape known only at run time; {advice}")
        if tensor.type_name == "float16":
            raise errors.ModelError(f"{where} has float16 weights, expected int8; {advice}")
        if tensor.type_name in ("float32", "float64") and operator.name not in ("DEQUANTIZE", "QUANTIZE"):
            kind = "hybrid (int8 weights, float activations)" if _has_integer_weights(graph, operator) else "float"
            raise errors.ModelError(f"{where} is {kind}, expected int8 or uint8 throughout; {advice}")


def _has_integer_weights(graph: Graph, operator: Any) -> bool:
    return any(
        graph.tensors[index].is_constant and graph.tensors[index].type_name in _INTEGER_TYPES
        for index in operator.inputs
        if index >= 0
    )
