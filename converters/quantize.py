"""The only door to TensorFlow's converter: a loaded model and samples in, one full-int8 `.tflite` out."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from converters import fused_lstm, litert_quantizer
from converters.loading import quiet
from converters.loading.frozen import limits
from converters.loading.model import LoadedModel, samples_of
from converters.mending import divisions, one_hot
from converters.unquantised import WEIGHTED, FloatFile
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import Array


def quantise(
    model: LoadedModel, samples: Sequence[Array], *, io_dtype: str = "int8", per_tensor_dense: bool = False
) -> bytes:
    """Convert with full-integer weights, activations, inputs and outputs, calibrated on `samples`.

    `samples` is one array (samples, …) of real values for each input, in order. `per_tensor_dense` gives dense layers
    one scale for all their weights, which the Edge TPU compiler needs. Raises ModelError naming the operators, and the
    layers they belong to, that int8 TFLite does not have.
    """
    if isinstance(model, FloatFile):
        return _mended(_checked(litert_quantizer.quantise(model, samples), model))

    def convert(converter: Any, *, names_inputs: bool) -> fused_lstm.Converted:
        tf = quiet.tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _representative(samples, names_inputs=names_inputs)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io_dtype)
        # A private attribute of the converter; without it, TF >= 2.17 gives dense layers one scale a channel.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = per_tensor_dense
        in_float = _kept_in_float(converter)
        made = _mended(_checked(fused_lstm.rescaled(_run(converter, model)), model))
        return fused_lstm.Converted(in_float[-1], made)

    if fused_lstm.count(model):
        # Unrolled it may go, or says better what does not.
        with contextlib.suppress(errors.ModelError, errors.DeviceError):
            fused = fused_lstm.converted(model, samples, partial(convert, names_inputs=True))
            if fused is not None:
                return fused
        model.unroll()
    made = convert(_converter(model), names_inputs=False)
    model.floats[False] = made.in_float
    return made.in_integers


def unquantised(model: LoadedModel, integer: bytes) -> bytes:
    """The float file that became `integer`, which `quantise` made of this model, for tails that compute in float."""
    return model.data if isinstance(model, FloatFile) else model.floats[fused_lstm.has_all(integer, model)]


def _kept_in_float(converter: Any) -> list[bytes]:
    """Where the file will be that the converter makes before it quantises: another run would take as long again."""
    kept, quantise = [], converter._quantize

    def keeping(data: bytes, *others: Any) -> Any:
        kept.append(bytes(data))
        return quantise(data, *others)

    converter._quantize = keeping
    return kept


def _converter(model: LoadedModel) -> Any:
    """It takes the frozen graph as it is: freezing it again, and keeping its function, holds weights ten times more."""
    model.trace.drop_constants()
    function = model.concrete_function()
    with quiet.silenced():
        made = quiet.tensorflow().lite.TFLiteConverter.from_concrete_functions([function])
    inputs = function.inputs[: len(model.inputs)]
    made._freeze_concrete_function = lambda: (model.trace.definition(), inputs, function.outputs, function)
    return made


def _run(converter: Any, model: LoadedModel) -> bytes:
    with quiet.silenced():
        try:
            return bytes(converter.convert())
        except Exception as cause:
            raise _as_model_error(cause, model) from cause


def _mended(data: bytes) -> bytes:
    return divisions.kept_off_zero(one_hot.in_one_scale(data))


def _checked(data: bytes, model: LoadedModel) -> bytes:
    """The converter leaves operators in float without a warning where int8 TFLite has no kernel for them."""
    graph = flatgraph.read(data, name=str(model.path))
    found: dict[str, str] = {}
    for operator in graph.operators:
        if _is_float(graph, operator) and isinstance(model, FloatFile):
            raise errors.ModelError(
                f"{model.path}: LiteRT's quantizer leaves {operator.name} ({_layers_with(model, operator.name)}) in "
                "float; convert the Keras model it was made from, if there is one, or replace that operator by another"
            )
        if _is_float(graph, operator):
            layer = _layer_of(model, graph.tensors[operator.outputs[0]].name.split(";")[0])
            found.setdefault(operator.name, f"layer {layer}" if layer else _layers_with(model, operator.name))
    if found:
        raise _unsupported(model, [f"{name} ({layer})" for name, layer in found.items()])
    check_is_integer(graph, str(model.path))
    return data


def _is_float(graph: Graph, operator: Operator) -> bool:
    types = {graph.tensors[index].type_name for index in (*operator.inputs, *operator.outputs) if index >= 0}
    return bool(types & {"float16", "float32", "float64"}) and operator.name not in ("QUANTIZE", "DEQUANTIZE")


def _representative(samples: Sequence[Array], *, names_inputs: bool) -> Iterator[list[Array] | dict[str, Array]]:
    for sample in samples_of(samples):
        arrays = [np.ascontiguousarray(array) for array in sample]
        yield fused_lstm.named(arrays) if names_inputs else arrays


def _as_model_error(cause: Exception, model: LoadedModel) -> errors.ModelError:
    operators = _missing_operators(str(cause))
    if not operators:
        return errors.ModelError(f"{model.path}: TensorFlow's converter refuses this model ({quiet.reason(cause)})")
    return _unsupported(model, [f"{name} ({_layers_with(model, name)})" for name in operators])


def _unsupported(model: LoadedModel, operators: Sequence[str]) -> errors.ModelError:
    return errors.ModelError(
        f"{model.path}: int8 TFLite has no {', '.join(operators)}; replace what uses "
        f"{'them' if len(operators) > 1 else 'it'} by layers it has"
    )


def _missing_operators(message: str) -> list[str]:
    """Operators that the converter's message names: `tf.Erf`, `Quantization not yet supported for op: …`."""
    found = re.findall(r"\btf\.([A-Z]\w+)\s*\(", message)
    found += re.findall(r"'tf\.([A-Z]\w+)' op", message)
    found += re.findall(r"[Nn]ot (?:yet )?supported for op: '?(\w+)", message)
    for listed in re.findall(r"(?:Flex|TF Select|Custom) ops: ([\w, ]+)", message):
        found += [name.strip() for name in listed.split(",")]
    return sorted({name.removeprefix("Flex") for name in found if name.strip()})


def _layers_with(model: LoadedModel, operator: str) -> str:
    """Where in the model a graph operation stands: the layer whose output it is or whose scope it is in."""
    if isinstance(model, FloatFile):
        return f"tensor {_tensor_of(model, operator)!r}"
    wanted = operator.replace("_", "").lower()
    scopes = [
        operation.name
        for operation in model.concrete_function().graph.get_operations()
        if operation.type.lower().removesuffix("v2") == wanted.removesuffix("v2")
    ]
    layers = dict.fromkeys(_layer_of(model, name) for name in scopes)
    words = [layer for layer in layers if layer]
    return f"layer {', '.join(words[:3])}{' …' if len(words) > 3 else ''}" if words else "layer unknown"


def _tensor_of(model: FloatFile, operator: str) -> str:
    graph = flatgraph.read(model.data)
    names = [graph.tensors[one.outputs[0]].name for one in graph.operators if one.name == operator]
    return names[0] if names else "unknown"


def _layer_of(model: LoadedModel, operation: str) -> str:
    graph = model.concrete_function().graph
    return limits.layer_of(graph, operation, [(tap.layer, tap.operation) for tap in model.layers])


def check_is_integer(graph: Graph, name: str) -> None:
    """Raise ModelError unless a `.tflite` is full int8 or uint8 with static shapes, saying what it is instead. Only its
    ending may compute in float, as a detector's post-processing does: from there on all is in the tail."""
    advice = "convert the model it was made from with tflsplit"
    for tensor in graph.tensors:
        if tensor.is_dynamic:
            raise errors.ModelError(f"{name}: tensor {tensor.name!r} has a shape known only at run time; {advice}")
    ending = _float_ending(graph)
    for operator in graph.operators:
        if operator.index not in ending and _is_float(graph, operator):
            kind = _float_kind(graph, operator)
            raise errors.ModelError(f"{name}: operator {operator.index} ({operator.name}) {kind}; {advice}")
    kept = next((operator for operator in graph.operators if operator.name == "ASSIGN_VARIABLE"), None)
    if kept is not None:
        raise errors.ModelError(
            f"{name}: operator {kept.index} ({kept.name}) keeps state from one sample to the next, which frames of "
            "several devices would share; export the model with its state as an input and an output"
        )
    made = {index for operator in graph.operators if operator.index in ending for index in operator.outputs}
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if index not in made and tensor.type_name in ("float16", "float32", "float64"):
            raise errors.ModelError(
                f"{name}: {tensor.name!r} goes in or out as {tensor.type_name}, expected int8 or uint8; {advice}"
            )


def _float_ending(graph: Graph) -> frozenset[int]:
    """The operators that compute in float, where no integers are made of their results again, and behind weights."""
    found: set[int] = set()
    reals: set[int] = set()
    for operator in graph.operators:
        given = [index for index in operator.inputs if index >= 0 and not graph.tensors[index].is_constant]
        gives_reals = any(graph.tensors[index].type_name == "float32" for index in operator.outputs)
        if not gives_reals and not reals.intersection(given):
            continue
        is_of_integers = all(index in reals or graph.tensors[index].scale_count for index in given)
        if operator.name in WEIGHTED or not is_of_integers or not gives_reals:
            return frozenset()
        found.add(operator.index)
        reals.update(operator.outputs)
    return frozenset(found)


def _float_kind(graph: Graph, operator: Operator) -> str:
    if any(tensor.type_name == "float16" for tensor in graph.tensors):
        return "computes in float on float16 weights, expected int8 throughout"
    inputs = [graph.tensors[index] for index in operator.inputs if index >= 0]
    constants = {tensor.type_name for tensor in inputs if tensor.is_constant}
    if constants & {"int8", "uint8"}:
        return "is hybrid (integer weights, float activations), expected int8 throughout"
    return "is float, expected int8 or uint8"
