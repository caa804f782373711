"""A uint8 model of TensorFlow 1 as int8: weights with a scale for each channel, activations with the ranges it has.

uint8 convolutions are rounded in another way on each kind of processor, int8 ones are not (docs/accelerators.md). The
weights come from the file's own, dequantised; a step of every activation keeps its meaning, since int8 is uint8 less
128 with the same scale, so a model that was trained with these ranges keeps them. What the change costs is measured
against a float twin of the file: the same graph on dequantised weights.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from converters.float_model import fidelity
from converters.loading import quiet
from converters.loading.model import joined, stored_samples
from tflsplit import errors, text
from tflsplit import fidelity as kept_fidelity
from tflsplit.fidelity import MeasuredOn
from tflsplit.graph import flatgraph, meanings
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import Array, TensorSpec, dequantise
from tflsplit.package import verify
from tflsplit.values.classes import dataclass, replace

_OFFSET = 128  # from uint8 to int8
# Where the kernels want one scale for each output channel: the axis of the weights that counts them.
_CHANNEL_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 0, "FULLY_CONNECTED": 0}
_WEIGHTS_PLACE = {"TRANSPOSE_CONV": (1, 3, 2)}  # places of weights, bias and data among the operator's inputs
_FIRST_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "TRANSPOSE_CONV": 3}
# Their uint8 kernels rescale, their int8 kernels take one scale throughout.
_ONE_SCALE = frozenset({"CONCATENATION", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PACK", "PAD", "RESIZE_BILINEAR"})
_SAMPLES = 16


@dataclass(frozen=True, slots=True)
class Requantised:
    """The int8 model, how closely it follows the float twin, and a text that says that of uint8 as well."""

    data: bytes
    after: tuple[fidelity.Fidelity, ...]
    note: str

    measured_on: MeasuredOn

    def recorded(self) -> tuple[kept_fidelity.Fidelity, ...]:
        return fidelity.recorded(self.after, self.measured_on)


def requantise(data: bytes, *, name: str, samples: Sequence[Array] = (), per_tensor_dense: bool = False) -> Requantised:
    """`data` is a full-uint8 `.tflite`; `samples` are real values, (samples, …) for each input, to measure on.

    Without samples random inputs measure. ModelError for a model without uint8, or with operators that int8 lacks.
    """
    graph = flatgraph.read(data, name=name)
    _check_is_uint8(graph, name)
    made = _Int8(graph, name, per_tensor_dense).written()
    twin = _float_twin(graph)
    try:
        given = tuple(array[:_SAMPLES] for array in samples) or _random(graph)
        expected, before, after = (_outputs(file, given) for file in (twin, data, made))
    except (errors.ModelError, errors.DeviceError) as cause:
        raise errors.ModelError(
            f"{name}: cannot run in int8 ({errors.one_line(cause)}); convert it as it is"
        ) from cause
    specs = graph.specs(graph.outputs)
    means = meanings.of_graph(graph, has_labels=False)
    old, new = (tuple(map(_compare, specs, means, expected, found)) for found in (before, after))
    count, of_what = len(given[0]), "samples" if samples else "random inputs"
    note = (
        f"uint8 became int8 with a scale for each channel: {_least(new)} against the float twin, {_least(old)} before "
        f"({count} {of_what})"
    )
    return Requantised(made, new, note, MeasuredOn.UNSEEN if samples else MeasuredOn.SYNTHETIC)


class _Int8:
    """The rewriting of one graph: every tensor in place, weights and biases anew for each operator that uses them."""

    def __init__(self, graph: Graph, name: str, per_tensor_dense: bool) -> None:
        self._graph, self._name, self._per_tensor_dense = graph, name, per_tensor_dense
        self._edited = Edit(graph)
        self._kind = self._edited.schema.TensorType

    def written(self) -> bytes:
        operators = self._edited.subgraph.operators
        self._edited.subgraph.operators = []
        for operator, part in zip(self._graph.operators, operators, strict=True):
            if operator.name in _CHANNEL_AXIS:
                self._give_own_weights(operator, part)
        for tensor in self._edited.subgraph.tensors[: len(self._graph.tensors)]:
            if _is_uint8(tensor):
                self._shift(tensor)
        for operator, part in zip(self._graph.operators, operators, strict=True):
            self._edited.subgraph.operators += [*self._rescaled(operator, part), part]
        # A second reading, to leave out the tensors and data that nothing uses any more.
        made = flatgraph.read(flatgraph.pack(self._edited.source), name=self._name)
        return flatgraph.select(made, range(len(made.operators)), made.inputs, made.outputs)

    def _shift(self, tensor: Any) -> None:
        quantisation = copy.copy(tensor.quantization)
        quantisation.zeroPoint = np.asarray(quantisation.zeroPoint, np.int64) - _OFFSET
        tensor.quantization, tensor.type = quantisation, self._kind.INT8
        held = self._edited.source.buffers[tensor.buffer].data
        if held is not None and len(held):
            tensor.buffer = self._edited.buffer(np.asarray(held).view(np.uint8) ^ np.uint8(_OFFSET))

    def _give_own_weights(self, operator: Operator, part: Any) -> None:
        """Dequantised, then symmetric int8; the bias in the step of the data times that of the weights."""
        place, bias_place, data_place = _WEIGHTS_PLACE.get(operator.name, (1, 2, 0))
        index = operator.inputs[place]
        weights = flatgraph.constant(self._graph, index)
        spec, data = self._graph.tensors[index].spec, self._graph.tensors[operator.inputs[data_place]].spec
        if spec is None or data is None or spec.dtype != "uint8":
            return
        if weights is None:
            raise errors.ModelError(
                f"{self._name}: operator {operator.index} ({operator.name}) computes its own weights, which cannot be "
                "requantised; convert it as it is"
            )
        real = dequantise(weights, spec).astype(np.float64)
        axis = _CHANNEL_AXIS[operator.name]
        others = tuple(place for place in range(real.ndim) if place != axis)
        extents = np.abs(real).max(axis=others)
        if operator.name == "FULLY_CONNECTED" and self._per_tensor_dense:
            extents = np.full(1, extents.max())
        has_bias = len(operator.inputs) > bias_place and operator.inputs[bias_place] >= 0
        bias = self._real_bias(operator.inputs[bias_place]) if has_bias else None
        # A channel that uses at most half of the range keeps the file's own step, and so its weights exactly.
        scales = np.maximum(extents / 127, spec.scale).astype(np.float32).astype(np.float64)
        shaped = scales.reshape([-1 if place == axis and len(scales) > 1 else 1 for place in range(real.ndim)])
        stored = np.clip(np.rint(real / shaped), -127, 127).astype(np.int8)
        name = self._graph.tensors[index].name
        inputs = list(operator.inputs)
        inputs[place] = self._constant(f"{name}/int8", stored, scales, axis)
        if bias is not None:
            # Each scale is at least the file's own, so no bias outgrows the 32 bits that held it.
            steps = np.rint(bias / (scales * data.scale)).astype(np.int32)
            old = self._graph.tensors[operator.inputs[bias_place]].name
            inputs[bias_place] = self._constant(f"{old}/int8", steps, scales * data.scale, 0)
        part.inputs = inputs
        self._raise_version(operator, part)

    def _real_bias(self, index: int) -> Array:
        bias, spec = flatgraph.constant(self._graph, index), self._graph.tensors[index].spec
        if bias is None or spec is None:
            raise errors.ModelError(f"{self._name}: bias {self._graph.tensors[index].name!r} is no constant")
        real: Array = bias.astype(np.float64) * spec.scale
        return real

    def _constant(self, name: str, array: Array, scales: Array, axis: int) -> int:
        quantisation = self._edited.schema.QuantizationParametersT()
        quantisation.scale = scales.astype(np.float32)
        quantisation.zeroPoint = np.zeros(len(scales), np.int64)
        quantisation.quantizedDimension = axis if len(scales) > 1 else 0
        return self._edited.constant(name, array, quantisation)

    def _raise_version(self, operator: Operator, part: Any) -> None:
        code = copy.copy(self._edited.source.operatorCodes[part.opcodeIndex])
        code.version = max(int(code.version), _FIRST_VERSIONS[operator.name])
        self._edited.source.operatorCodes.append(code)
        part.opcodeIndex = len(self._edited.source.operatorCodes) - 1

    def _rescaled(self, operator: Operator, part: Any) -> list[Any]:
        """QUANTIZE operators for inputs that the int8 kernel wants in its output's scale, or custom ones in uint8."""
        is_custom = operator.name not in vars(self._edited.schema.BuiltinOperator)
        if not is_custom and operator.name not in _ONE_SCALE:
            return []
        made, inputs = [], list(part.inputs)
        output = self._edited.subgraph.tensors[operator.outputs[0]]
        for place, index in enumerate(inputs):
            tensor = self._edited.subgraph.tensors[index] if index >= 0 else None
            if tensor is None or tensor.type != self._kind.INT8 or (not is_custom and _same_scale(tensor, output)):
                continue
            like = self._graph.source.subgraphs[0].tensors[index] if is_custom else output
            name = f"{self._graph.tensors[index].name}/{'uint8' if is_custom else 'rescaled'}/{operator.index}"
            inputs[place] = self._edited.tensor(name, tensor.shape, like.type, quantisation=like.quantization)
            made.append(self._edited.operator("QUANTIZE", 2, (index,), inputs[place]))
        part.inputs = inputs
        return made


def _check_is_uint8(graph: Graph, name: str) -> None:
    types = {
        graph.tensors[index].type_name
        for operator in graph.operators
        for index in (*operator.inputs, *operator.outputs)
        if index >= 0 and operator.name not in ("QUANTIZE", "DEQUANTIZE")
    }
    if "uint8" not in types:
        kinds = ", ".join(sorted(types & {"int8", "int16", "float16", "float32"})) or "no numbers"
        raise errors.ModelError(
            f"{name}: computes in {kinds}, and --requantise makes int8 of uint8; convert it without"
        )


def _is_uint8(tensor: Any) -> bool:
    return tensor.type == flatgraph.schema().TensorType.UINT8 and _has_scale(tensor)


def _has_scale(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _same_scale(one: Any, other: Any) -> bool:
    first, second = one.quantization, other.quantization
    return np.array_equal(first.scale, second.scale) and np.array_equal(first.zeroPoint, second.zeroPoint)


def _float_twin(graph: Graph) -> bytes:
    """The same graph in float32, on weights and biases that are dequantised; the ranges of activations are left out."""
    edited = Edit(graph)
    floats = edited.schema.TensorType.FLOAT32
    for index, tensor in enumerate(edited.subgraph.tensors):
        spec = graph.tensors[index].spec
        if not _has_scale(tensor) or spec is None or spec.dtype.startswith("f"):
            continue
        held = flatgraph.constant(graph, index)
        tensor.type, tensor.quantization = floats, None
        if held is not None:
            edited.fill(index, dequantise(held, spec))
    return flatgraph.pack(edited.source)


def _random(graph: Graph) -> tuple[Array, ...]:
    specs = graph.specs(graph.inputs)
    rows = verify.random_samples(specs, _SAMPLES)
    return joined([[dequantise(*pair) for pair in zip(row, specs, strict=True)] for row in rows])


def _outputs(data: bytes, samples: Sequence[Array]) -> tuple[Array, ...]:
    with quiet.silenced(), Interpreter(data, threads=2) as opened:
        found = [opened.run(*sample) for sample in stored_samples(samples, opened.inputs)]
        return joined([[dequantise(*pair) for pair in zip(row, opened.outputs, strict=True)] for row in found])


def _compare(spec: TensorSpec, meaning: Meaning, expected: Array, found: Array) -> fidelity.Fidelity:
    """As for any output; of one that holds class numbers, the share that are the same."""
    measured = fidelity.compare(spec.name, expected, found, meaning)
    is_number_of_class = spec.dtype.startswith("int") and not spec.is_quantised
    return replace(measured, top1_agreement=float(np.mean(expected == found))) if is_number_of_class else measured


def _least(measured: Sequence[fidelity.Fidelity]) -> str:
    """The worst output's figures."""
    known = [entry for entry in measured if entry.sqnr_db is not None]
    worst = min(known or measured, key=lambda entry: entry.sqnr_db or 0.0)
    agrees = "" if worst.top1_agreement is None else f", top-1 {text.percent(worst.top1_agreement)}"
    said = "nothing varies" if worst.sqnr_db is None else f"{min(max(worst.sqnr_db, 0.0), 300.0):.1f} dB"
    return f"{said}{agrees}"
