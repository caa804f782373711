"""Biases of an int8 model corrected by what rounding shifts each channel by, on average over calibration samples.

Rounded weights do not only add noise. Behind a ReLU the inputs of a layer are far from zero on average, so that each
channel's rounding errors add up to a shift that every sample has, and that passes from layer to layer. Of the shift of
a convolution or a dense layer the bias can take all. (Nagel et al., arXiv 1906.04721, 4.2, from samples; layer by
layer, on inputs that are corrected already.) The float model stays as it is, and of the int8 model all but biases.
"""

import copy
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from converters import quantize
from converters.float_model import fidelity
from converters.loading import quiet
from converters.loading.model import LoadedModel, samples_of, stored_samples
from converters.rewriting import Rewritten
from tflsplit import errors, text
from tflsplit.graph import flatgraph, meanings
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec, dequantise
from tflsplit.losses import twin
from tflsplit.values.classes import dataclass, replace

# Half of the samples correct and the others judge, before all of them correct. Of fewer than four, means are chance.
_MOST, _LEAST = 64, 4
_MOST_BYTES = 256 << 20  # of the tensors between two operators, for all samples
# Other samples of the same kind move the ratio by as much as this.
_LEAST_GAIN_DB = 1.0


@dataclass(frozen=True, slots=True)
class _Places:
    """Where an operator has its input and its bias among its inputs, and which axis of its weights counts channels;
    the weights are the second of its inputs."""

    input: int
    bias: int
    channels: int


_PLACES = {
    "CONV_2D": _Places(0, 2, 0),
    "DEPTHWISE_CONV_2D": _Places(0, 2, 3),
    "FULLY_CONNECTED": _Places(0, 2, 0),
    "TRANSPOSE_CONV": _Places(2, 3, 0),
}


def corrected(model: LoadedModel, data: bytes, samples: Sequence[Array]) -> Rewritten:
    """`data`, quantised from `model`, with corrected biases if results on real values that were not used for it come
    nearer to float by a decibel, and no output falls behind by one; as it was else."""
    graph = flatgraph.read(data)
    few = [array[:_MOST] for array in samples]
    used, judging = ([array[first::2] for array in few] for first in (0, 1))  # samples may be sorted by class
    if len(judging[0]) < _LEAST or not _has_weights_of_its_own(graph):
        return Rewritten(data)
    try:
        floating = quantize.unquantised(model, data)
        pairs = dict(_pairs(graph, flatgraph.read(floating)))
        expected, tried = model.predict(judging), _corrected(graph, floating, pairs, used)
        before, after = (_ratios(model, expected, each, judging) for each in (data, tried))
        gains = [late - early for early, late in zip(before, after, strict=True) if early < math.inf]
        if max(gains, default=0.0) < _LEAST_GAIN_DB or min(gains) <= -_LEAST_GAIN_DB:
            return Rewritten(data)
        changed = _corrected(graph, floating, pairs, few)
    except (errors.ModelError, errors.DeviceError) as refused:
        return Rewritten(data, (f"biases are left as they were, correcting them was not possible ({refused})",))
    what = f"biases of {text.counted(len(pairs), 'operator')} corrected by the mean error of their channels"
    gained = f"{min(before):.1f} dB became {min(after):.1f} on {text.counted(len(judging[0]), 'sample')} left out of it"
    return Rewritten(changed, (f"{what}: {gained}",))


def _ratios(model: LoadedModel, expected: Sequence[Array], data: bytes, samples: Sequence[Array]) -> list[float]:
    """Of those outputs that vary."""
    means = meanings.of_graph(flatgraph.read(data), has_labels=False)
    found = fidelity.compare_chain(model, expected, (data,), samples, means)
    return [entry.sqnr_db for entry in found if entry.sqnr_db is not None]


def _has_weights(graph: Graph, operator: Operator) -> bool:
    """Whether it is an operator that has a bias, or could have one, and whose weights are constant."""
    return operator.name in _PLACES and graph.tensors[operator.inputs[1]].is_constant


def _has_weights_of_its_own(graph: Graph) -> bool:
    """Whether most operators share their weights with no other: not so where recurrent layers are unrolled, whose
    thousands of operators would be run for the few beside them."""
    weights = [operator.inputs[1] for operator in graph.operators if _has_weights(graph, operator)]
    read = Counter(weights)
    return 2 * sum(read[index] == 1 for index in weights) > len(weights)


def _pairs(graph: Graph, real: Graph) -> Iterator[tuple[int, Operator]]:
    """Operators of the int8 file, each with the one of the float file whose rounded weights it has. Where several have
    them, as the steps of a recurrent layer, they share what would be corrected, and are left out."""
    candidates: dict[tuple[str, tuple[int, ...]], list[tuple[Operator, Array]]] = {}
    for operator in real.operators:
        if _has_weights(real, operator):
            known = candidates.setdefault(_form(real, operator), [])
            known.append((operator, flatgraph.real_constant(real, operator.inputs[1])))
    for operator in graph.operators:
        if not _has_weights(graph, operator):
            continue
        weights, half = flatgraph.real_constant(graph, operator.inputs[1]), _half_steps(graph, operator)
        alike = candidates.get(_form(graph, operator), ())
        found = [other for other, exact in alike if np.all(np.abs(weights - exact) <= half)]
        if len(found) == 1:
            yield operator.index, found[0]


def _form(graph: Graph, operator: Operator) -> tuple[str, tuple[int, ...]]:
    return operator.name, graph.tensors[operator.inputs[1]].shape


def _half_steps(graph: Graph, operator: Operator) -> Array:
    """What a weight may be off by, along the axis of the channels; with what a float needs to be one."""
    scales = np.asarray(_quantisation(graph, operator.inputs[1]).scale, np.float32)
    shape = [1] * len(graph.tensors[operator.inputs[1]].shape)
    shape[_PLACES[operator.name].channels] = len(scales)
    half: Array = np.float32(0.51) * scales.reshape(shape)
    return half


def _quantisation(graph: Graph, index: int) -> Any:
    return graph.source.subgraphs[0].tensors[index].quantization


def _corrected(graph: Graph, floating: bytes, pairs: Mapping[int, Operator], samples: Sequence[Array]) -> bytes:
    """One operator after the other, on what those before it give in int8 with their new biases."""
    real = flatgraph.read(floating)
    count = max(1, min(len(samples[0]), _MOST_BYTES // _most_at_once(graph)))
    few = [array[:count] for array in samples]
    means = _float_means(floating, {_input(other) for other in pairs.values()}, samples_of(few))
    edited = Edit(graph)
    changing = replace(graph, source=edited.source)
    stored = stored_samples(few, graph.specs(graph.inputs))
    values = dict(zip(graph.inputs, map(list, zip(*stored, strict=True)), strict=True))
    ends = _last_uses(graph)
    for operator in graph.operators:
        other = pairs.get(operator.index)
        if other is not None:
            index = _input(operator)
            mean = _mean(values[index], graph.specs((index,)))
            expected = _linear(real, other, means[_input(other)])
            _shift(edited, operator, expected - _linear(graph, operator, mean))
        values |= _run(changing, operator, values, count)
        values = {index: arrays for index, arrays in values.items() if ends.get(index, -1) > operator.index}
    return flatgraph.pack(edited.source)


def _input(operator: Operator) -> int:
    return operator.inputs[_PLACES[operator.name].input]


def _last_uses(graph: Graph) -> dict[int, int]:
    return {index: operator.index for operator in graph.operators for index in operator.inputs}


def _most_at_once(graph: Graph) -> int:
    """Bytes of one sample's tensors that have to be kept at the same time."""
    ends = _last_uses(graph)
    held, most = {index: _bytes(graph, index) for index in graph.inputs}, 1
    for operator in graph.operators:
        held |= {index: _bytes(graph, index) for index in operator.outputs}
        most = max(most, sum(held.values()))
        held = {index: size for index, size in held.items() if ends.get(index, -1) > operator.index}
    return most


def _bytes(graph: Graph, index: int) -> int:
    spec = graph.tensors[index].spec
    return 0 if spec is None else spec.bytes


def _mean(arrays: Sequence[Array], specs: Sequence[TensorSpec]) -> Array:
    """In real values, at each place of the tensor."""
    total = np.zeros(specs[0].shape, np.float64)
    for array in arrays:
        total += dequantise(array, specs[0])
    mean: Array = (total / len(arrays)).astype(np.float32)
    return mean


def _float_means(floating: bytes, wanted: set[int], samples: Sequence[tuple[Array, ...]]) -> dict[int, Array]:
    totals: dict[int, Array] = {}
    with quiet.silenced(), Interpreter(floating, threads=2, keeps_intermediates=True, name="the float model") as wide:
        for sample in samples:
            wide.run(
                *(array.reshape(spec.shape).astype(spec.dtype) for array, spec in zip(sample, wide.inputs, strict=True))
            )
            for index in wanted:
                totals[index] = totals.get(index, np.float64(0)) + wide.tensor(index)
    return {index: (total / len(samples)).astype(np.float32) for index, total in totals.items()}


def _linear(graph: Graph, operator: Operator, given: Array) -> Array:
    """What the operator gives in float on its (dequantised) weights, before its activation: of the mean of its inputs
    that is the mean of its results. One figure for each channel."""
    part = flatgraph.read(
        flatgraph.extract(graph, operator.index, operator.index + 1, (_input(operator),), operator.outputs)
    )
    edited = Edit(flatgraph.read(twin.of_model(part)))
    alone = edited.subgraph.operators[0]
    if hasattr(alone.builtinOptions, "fusedActivationFunction"):
        alone.builtinOptions = copy.copy(alone.builtinOptions)
        alone.builtinOptions.fusedActivationFunction = edited.schema.ActivationFunctionType.NONE
    with quiet.silenced(), Interpreter(flatgraph.pack(edited.source), name=f"operator {operator.index}") as opened:
        (found,) = opened.run(given)
    means: Array = found.astype(np.float64).reshape(-1, found.shape[-1]).mean(axis=0)
    return means


def _shift(edited: Edit, operator: Operator, by: Array) -> None:
    """The bias of an operator raised by a real value for each channel; a new one where it has none of its own."""
    graph, place = edited.graph, _PLACES[operator.name].bias
    index = operator.inputs[place] if len(operator.inputs) > place else -1
    held = flatgraph.constant(graph, index) if index >= 0 else np.zeros(by.shape, np.int32)
    if held is None:
        raise errors.ModelError(f"the bias of operator {operator.index} ({operator.name}) is computed")
    given, weights = (_quantisation(graph, each).scale for each in (_input(operator), operator.inputs[1]))
    scales = np.resize(np.asarray(weights, np.float64) * float(given[0]), len(by))
    limits = np.iinfo(held.dtype)
    raised = np.clip(np.rint(held + by / scales), limits.min, limits.max).astype(held.dtype)
    if index >= 0 and sum(index in other.inputs for other in graph.operators) == 1:
        edited.fill(index, raised)
        return
    told = edited.schema.QuantizationParametersT()
    told.scale, told.zeroPoint = scales.astype(np.float32), np.zeros(len(scales), np.int64)
    changed = edited.subgraph.operators[operator.index]
    inputs = [*operator.inputs, -1][: max(place + 1, len(operator.inputs))]
    inputs[place] = edited.constant(f"bias of {operator.index}", raised, told)
    changed.inputs = inputs


def _run(graph: Graph, operator: Operator, values: Mapping[int, list[Array]], count: int) -> dict[int, list[Array]]:
    """The results of an operator of the int8 file for all samples."""
    inputs = [index for index in dict.fromkeys(operator.inputs) if index in values]
    alone = flatgraph.extract(graph, operator.index, operator.index + 1, inputs, operator.outputs)
    with quiet.silenced(), Interpreter(alone, threads=2, name=f"operator {operator.index} ({operator.name})") as opened:
        rows = [opened.run(*(values[index][turn] for index in inputs)) for turn in range(count)]
    return {index: [row[place] for row in rows] for place, index in enumerate(operator.outputs)}
