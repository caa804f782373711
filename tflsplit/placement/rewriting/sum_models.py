"""Models of partial sums: from a part of an operator's input to int32 sums, and from their total to its result.

A convolution's sums are made in float32, which is exact for whole numbers below 2^24: int8 inputs and weights are
dequantised with a scale of 1, and channels are taken in as many goes as the weights need to stay below. A dense layer's
come from BATCH_MATMUL of int8, whose int32 results have no such bound but leave zero points to us. The total is
requantised as XNNPACK does: one float32 factor for each channel, rounded ties to even.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import Array
from tflsplit.placement.rewriting import boxes, elements, windows
from tflsplit.placement.rewriting.boxes import Box, Interval
from tflsplit.placement.rewriting.building import Building

_EXACT = 1 << 24  # float32 has every whole number up to there
_CHANNELS = 3
# schema.fbs, enum ActivationFunctionType: NONE, RELU, RELU_N1_TO_1, RELU6
_LIMITS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}


def adding(graph: Graph, operator: Operator, part: Box, made: Box) -> bytes:
    """From a part of the input to the sums of it for a part of the result."""
    building = Building(graph)
    given = building.like(operator.inputs[0], boxes.shape(part))
    if operator.name == "MEAN":
        sums = _added_up(building, operator, given, made)
    elif operator.name == "CONV_2D":
        sums = _convolved(building, operator, given, part, made)
    else:
        sums = _multiplied(building, operator, given, part, made)
    return building.packed([given], [sums])


def finishing(graph: Graph, operator: Operator, part: Box, made: Box) -> bytes:
    """From the total of the sums for a part of the result to that part."""
    building = Building(graph)
    total = building.fresh("total", boxes.shape(part), "int32")
    result = (_averaged if operator.name == "MEAN" else _requantised)(building, operator, total, made)
    return building.packed([total], [result])


def factors(graph: Graph, operator: Operator) -> Array:
    """What the sums of each channel are multiplied by, one for all where weights have one scale."""
    source, weights, target = (_quantisation(graph, i) for i in (*operator.inputs[:2], operator.outputs[0]))
    scales: Array = np.float32(source.scale[0]) * np.asarray(weights.scale, np.float32)
    made: Array = scales / np.float32(target.scale[0])
    return made


def limits(graph: Graph, operator: Operator) -> tuple[int, int]:
    """The lowest and the highest stored value that the fused activation lets through; None is known of others."""
    target = _quantisation(graph, operator.outputs[0])
    low, high = _LIMITS[_activation(graph, operator)]
    scale, zero = np.float32(target.scale[0]), int(target.zeroPoint[0])
    return (
        -128 if np.isinf(low) else max(-128, int(np.rint(np.float32(low) / scale)) + zero),
        127 if np.isinf(high) else min(127, int(np.rint(np.float32(high) / scale)) + zero),
    )


def can_requantise(graph: Graph, operator: Operator) -> bool:
    """Whether an int8 operator's weights, bias and activation are such that sums of it can be added and finished."""
    source, weights, *bias = operator.inputs
    tensors = [graph.tensors[index] for index in (source, weights, *operator.outputs)]
    if any(tensor.type_name != "int8" or _quantisation(graph, tensor.index) is None for tensor in tensors):
        return False
    fixed = [graph.tensors[index] for index in (weights, *bias) if index >= 0]
    return (
        all(tensor.is_constant and flatgraph.constant(graph, tensor.index) is not None for tensor in fixed)
        and all(graph.tensors[index].type_name == "int32" for index in bias if index >= 0)
        and _activation(graph, operator) in _LIMITS
        and not np.any(_quantisation(graph, weights).zeroPoint)
    )


def _quantisation(graph: Graph, tensor: int) -> Any:
    found = graph.source.subgraphs[0].tensors[tensor].quantization
    return found if found is not None and found.scale is not None and len(found.scale) else None


def _activation(graph: Graph, operator: Operator) -> int:
    return int(flatgraph.options(graph, operator).fusedActivationFunction)


def _weights(graph: Graph, operator: Operator, outputs: Interval, inputs: Interval) -> Array:
    held = flatgraph.constant(graph, operator.inputs[1])
    if held is None:
        raise ValueError(f"the weights of operator {operator.index} cannot be read")
    part: Array = held[slice(*outputs), ..., slice(*inputs)]
    return part


def _added_up(building: Building, operator: Operator, given: int, made: Box) -> int:
    wide = building.then("CAST", [given], building.extents(given), "int32", building.edit.schema.CastOptionsT())
    options = building.edit.schema.ReducerOptionsT()
    options.keepDims = flatgraph.options(building.graph, operator).keepDims
    return building.then("SUM", [wide, operator.inputs[1]], boxes.shape(made), "int32", options)


def _convolved(building: Building, operator: Operator, given: int, part: Box, made: Box) -> int:
    graph, schema = building.graph, building.edit.schema
    zero = int(_quantisation(graph, operator.inputs[0]).zeroPoint[0])
    amounts = windows.Convolution(graph, operator).padding(made)
    building.requantise(given, zero)
    features = building.pad(operator.inputs[0], given, amounts)
    building.requantise(features, zero)
    shape, total, options = building.extents(features), -1, _convolution(building, operator)
    for start, stop in goes(graph, operator, made[_CHANNELS], part[_CHANNELS], zero):
        first = start - part[_CHANNELS][0]
        box: Box = (*boxes.whole(shape)[:_CHANNELS], (first, first + stop - start))
        some = features if box == boxes.whole(shape) else building.cut_out(operator.inputs[0], features, box)
        weights = _weights(graph, operator, made[_CHANNELS], (start, stop))
        filters = building.edit.constant("weights", weights, building.whole_steps(0))
        inputs = [_as_float(building, some, zero), _as_float(building, filters, 0)]
        inputs.append(building.edit.constant("bias", np.zeros(len(weights), np.float32)))
        sums = building.then("CONV_2D", inputs, boxes.shape(made), "float32", options)
        whole = building.then("CAST", [sums], boxes.shape(made), "int32", schema.CastOptionsT())
        total = (
            whole if total < 0 else building.then("ADD", [total, whole], boxes.shape(made), "int32", _adds(building))
        )
    return total


def _convolution(building: Building, operator: Operator) -> Any:
    given, options = flatgraph.options(building.graph, operator), building.edit.schema.Conv2DOptionsT()
    options.padding = windows.VALID
    for name in ("strideH", "strideW", "dilationHFactor", "dilationWFactor"):
        setattr(options, name, getattr(given, name))
    return options


def _as_float(building: Building, tensor: int, zero: int) -> int:
    """The whole numbers that are stored, less the zero point."""
    building.requantise(tensor, zero)
    options = building.edit.schema.DequantizeOptionsT()
    return building.then("DEQUANTIZE", [tensor], building.extents(tensor), "float32", options)


def goes(graph: Graph, operator: Operator, outputs: Interval, inputs: Interval, zero: int) -> Iterator[Interval]:
    """The input channels, in as few intervals as no sum of which can leave what float32 has exactly."""
    weights = np.abs(_weights(graph, operator, outputs, inputs).astype(np.int64))
    each = weights.sum(axis=(1, 2)) * max(127 - zero, 128 + zero)  # (outputs, inputs)
    begun, sums = inputs[0], np.zeros(len(each), np.int64)
    for channel in range(*inputs):
        sums = sums + each[:, channel - inputs[0]]
        if sums.max() > _EXACT and channel > begun:
            yield begun, channel
            begun, sums = channel, each[:, channel - inputs[0]]
    yield begun, inputs[1]


def _multiplied(building: Building, operator: Operator, given: int, part: Box, made: Box) -> int:
    graph, schema = building.graph, building.edit.schema
    zero = int(_quantisation(graph, operator.inputs[0]).zeroPoint[0])
    weights = _weights(graph, operator, made[-1], part[-1])
    options = schema.BatchMatMulOptionsT()
    filters = building.edit.constant("weights", np.ascontiguousarray(weights.T), building.whole_steps(0))
    building.requantise(given, 0)
    sums = building.then("BATCH_MATMUL", [given, filters], boxes.shape(made), "int32", options, version=4)
    left = -zero * weights.astype(np.int64).sum(axis=1)
    correction = building.edit.constant("correction", left.astype(np.int32))
    return building.then("ADD", [sums, correction], boxes.shape(made), "int32", _adds(building))


def _adds(building: Building) -> Any:
    return building.edit.schema.AddOptionsT()


def _averaged(building: Building, operator: Operator, total: int, made: Box) -> int:
    """MEAN of any tensor of the whole's shape that has these sums, since its result depends on nothing else."""
    graph, schema = building.graph, building.edit.schema
    (source, needed), *_ = elements.Mean(graph, operator).needs(made).items()
    shape = boxes.shape(needed)
    count = shape[1] * shape[2]
    sums = building.fresh("sums", (1, 1, 1, shape[3]), "int32")
    building.reshape(total, sums)
    size = building.edit.constant("size", np.array(count, np.int32).reshape(1, 1, 1, 1))
    base = building.then("FLOOR_DIV", [sums, size], (1, 1, 1, shape[3]), "int32", schema.FloorDivOptionsT())
    rest = building.then("FLOOR_MOD", [sums, size], (1, 1, 1, shape[3]), "int32", schema.FloorModOptionsT())
    places = np.arange(count, dtype=np.int32).reshape(1, shape[1], shape[2], 1)
    early = building.then(
        "LESS", [building.edit.constant("places", places), rest], shape, "bool", schema.LessOptionsT()
    )
    steps = building.then("CAST", [early], shape, "int32", schema.CastOptionsT())
    values = building.then("ADD", [steps, base], shape, "int32", _adds(building))
    stand_in = building.like(source, shape)
    building.append("CAST", [values], stand_in, schema.CastOptionsT())
    result = building.like(operator.outputs[0], boxes.shape(made))
    building.repeat(operator, [stand_in, operator.inputs[1]], result)
    return result


def _requantised(building: Building, operator: Operator, total: int, made: Box) -> int:
    graph, schema, shape = building.graph, building.edit.schema, boxes.shape(made)
    for bias in operator.inputs[2:]:
        if bias >= 0:
            total = building.then("ADD", [total, building.take(bias, (made[-1],))], shape, "int32", _adds(building))
    scale, zero = factors(graph, operator), int(_quantisation(graph, operator.outputs[0]).zeroPoint[0])
    low, high = limits(graph, operator)
    found = building.then("CAST", [total], shape, "float32", schema.CastOptionsT())
    for name, value, options in (
        ("MUL", scale if len(scale) == 1 else scale[slice(*made[-1])], schema.MulOptionsT()),
        ("ROUND", None, None),
        ("ADD", np.array([zero]), _adds(building)),
        ("MAXIMUM", np.array([low]), schema.MaximumMinimumOptionsT()),
        ("MINIMUM", np.array([high]), schema.MaximumMinimumOptionsT()),
    ):
        constants = [] if value is None else [building.edit.constant(name.lower(), value.astype(np.float32))]
        found = building.then(name, [found, *constants], shape, "float32", options)
    result = building.like(operator.outputs[0], shape)
    building.append("CAST", [found], result, schema.CastOptionsT())
    return result
