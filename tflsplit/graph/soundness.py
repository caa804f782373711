"""Whether a parsed `.tflite` can be run without reading or writing beside its data, as far as the file itself tells.

Kernels of TensorFlow Lite trust the file: an operator that lacks its filter, a constant shorter than its shape or an
axis beyond it make them read what is not there. Nothing here runs anything; what a kernel does with numbers that are
all in range is not known here, which is why files of strangers are also tried in a process of their own.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tflsplit.graph.tensors import DTYPE_OF_CODE

_MOST_DIMENSIONS = 8
_NAMES = Mapping[int, str]

# Inputs an operator must have, inputs it may have, outputs; `-` is for any number. The last required ones may not be
# left out (-1), nor may any before them.
_ARITIES = {
    name: counts
    for counts, names in {
        (1, 1, 1): """ABS AVERAGE_POOL_2D CAST CEIL COS DEPTH_TO_SPACE DEQUANTIZE ELU EXP FLOOR GELU HARD_SWISH
        L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LOG LOGICAL_NOT LOGISTIC LOG_SOFTMAX MAX_POOL_2D NEG QUANTIZE RANK RELU
        RELU6 RELU_0_TO_1 RELU_N1_TO_1 ROUND RSQRT SHAPE SIGN SIN SOFTMAX SPACE_TO_DEPTH SQRT SQUARE SQUEEZE TANH
        ZEROS_LIKE""",
        (1, 2, 1): "RESHAPE",
        (2, 2, 1): """ADD ARG_MAX ARG_MIN BATCH_MATMUL BROADCAST_ARGS BROADCAST_TO CUMSUM DIV EMBEDDING_LOOKUP EQUAL
        EXPAND_DIMS FILL FLOOR_DIV FLOOR_MOD GATHER GATHER_ND GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND
        LOGICAL_OR MAXIMUM MEAN MINIMUM MIRROR_PAD MUL NOT_EQUAL PAD POW PRELU REDUCE_ALL REDUCE_ANY REDUCE_MAX
        REDUCE_MIN REDUCE_PROD RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 SQUARED_DIFFERENCE SUB SUM TILE
        TRANSPOSE""",
        (2, 3, 1): "CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED CONV_3D",
        (
            3,
            3,
            1,
        ): "BATCH_TO_SPACE_ND DYNAMIC_UPDATE_SLICE PADV2 RANGE SCATTER_ND SELECT SELECT_V2 SLICE SPACE_TO_BATCH_ND",
        (3, 4, 1): "TRANSPOSE_CONV CONV_3D_TRANSPOSE",
        (4, 4, 1): "ONE_HOT STRIDED_SLICE",
        (4, 5, 1): "SVDF",
        (1, None, 1): "CONCATENATION PACK ADD_N",
        (2, 2, None): "SPLIT TOPK_V2",
        (3, 3, None): "SPLIT_V",
        (1, 1, None): "UNPACK",
    }.items()
    for name in names.split()
}
_NEEDS_BIAS = frozenset({"DEPTHWISE_CONV_2D"})  # its integer kernel reads one, whether there is one or not


def problems(source: Any, operator_names: _NAMES) -> Iterator[str]:
    """What is wrong with a parsed file, each in a few words that say where; nothing for one that may be run."""
    codes = source.operatorCodes or []
    for number, subgraph in enumerate(source.subgraphs):
        where = "" if number == 0 else f"subgraph {number}: "
        for problem in _of_subgraph(subgraph, source, codes, operator_names):
            yield f"{where}{problem}"


def _of_subgraph(subgraph: Any, source: Any, codes: Sequence[Any], operator_names: _NAMES) -> Iterator[str]:
    tensors, operators = subgraph.tensors or [], subgraph.operators or []
    ends = [*_list(subgraph.inputs), *_list(subgraph.outputs)]
    for index, tensor in enumerate(tensors):
        for problem in _of_tensor(tensor, source.buffers):
            yield f"tensor {index} {problem}"
    if any(not 0 <= index < len(tensors) for index in ends):
        yield f"its inputs or outputs are beyond the {len(tensors)} tensors there are"
        return
    made = {index for index, tensor in enumerate(tensors) if tensor.isVariable or _data(tensor, source.buffers)}
    constant = set(made)
    made.update(_list(subgraph.inputs))
    for index, operator in enumerate(operators):
        name = _name(operator, codes, operator_names)
        for problem in _of_operator(operator, name, tensors, made, constant):
            yield f"operator {index} ({name}) {problem}"
            return  # what follows would only repeat it
        made.update(_list(operator.outputs))
        constant.update(_list(operator.outputs))
        yield from (f"operator {index} ({name}) {problem}" for problem in _of_options(operator, name, tensors, source))
    for index in _list(subgraph.outputs):
        if index not in made:
            yield f"output {index} is made by no operator"


def _list(vector: Any) -> list[int]:
    return [] if vector is None else [int(entry) for entry in vector]


def _data(tensor: Any, buffers: Sequence[Any]) -> int:
    """Bytes of a constant, 0 for what is computed, or for a buffer that is not there."""
    data = buffers[tensor.buffer].data if 0 <= tensor.buffer < len(buffers) else None
    return 0 if data is None else len(data)


def _of_tensor(tensor: Any, buffers: Sequence[Any]) -> Iterator[str]:
    shape = _list(tensor.shape)
    if len(shape) > _MOST_DIMENSIONS or any(extent < 0 for extent in shape):
        yield f"has shape {shape}"
        return
    if not 0 <= tensor.buffer < len(buffers):
        yield f"keeps its data in buffer {tensor.buffer} of {len(buffers)}"
        return
    dtype = DTYPE_OF_CODE.get(tensor.type)
    size = _data(tensor, buffers)
    if size and dtype is not None and tensor.sparsity is None:
        expected = math.prod(shape) * np.dtype(dtype).itemsize
        if size != expected:
            yield f"of shape {shape} and type {dtype} holds {size} bytes, {expected} are expected"
    yield from _of_quantisation(tensor.quantization, shape, dtype)


def _of_quantisation(parameters: Any, shape: Sequence[int], dtype: str | None) -> Iterator[str]:
    if parameters is None:
        return
    # Arrays: a model has a scale for each channel of each filter.
    scales = np.asarray([] if parameters.scale is None else parameters.scale)
    zero_points = np.asarray([] if parameters.zeroPoint is None else parameters.zeroPoint)
    if not (np.isfinite(scales) & (scales >= 0)).all():
        yield "has a scale that is no finite number"
    if len(scales) > 1:
        axis = parameters.quantizedDimension
        if not 0 <= axis < len(shape) or shape[axis] != len(scales):
            yield f"of shape {list(shape)} has {len(scales)} scales along dimension {axis}"
    if len(zero_points) not in (0, 1, len(scales)):
        yield f"has {len(zero_points)} zero points for {len(scales)} scales"
    if len(scales) and len(zero_points) and dtype in ("int8", "uint8", "int16"):
        limits = np.iinfo(dtype)
        if zero_points.min() < limits.min or zero_points.max() > limits.max:
            yield f"has a zero point outside {dtype}"


def _name(operator: Any, codes: Sequence[Any], operator_names: _NAMES) -> str:
    if not 0 <= operator.opcodeIndex < len(codes):
        return "unknown"
    code = codes[operator.opcodeIndex]
    return operator_names.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown")


def _of_operator(operator: Any, name: str, tensors: Sequence[Any], made: set[int], written: set[int]) -> Iterator[str]:
    inputs, outputs = _list(operator.inputs), _list(operator.outputs)
    named = [*(index for index in inputs if index != -1), *outputs, *_list(operator.intermediates)]
    if name == "unknown":
        yield "is of a kind that is not in the file"
    if any(not 0 <= index < len(tensors) for index in named):
        yield f"refers to a tensor beyond the {len(tensors)} there are"
        return
    least, most, gives = _ARITIES.get(name, (0, None, None))
    if name in _NEEDS_BIAS and inputs and tensors[inputs[0]].quantization is not None:
        least = 3
    always = inputs if most is None and name in _ARITIES else inputs[:least]
    if len(inputs) < least or (most is not None and len(inputs) > most) or -1 in always:
        yield f"has inputs {inputs}, {_count(least, most)} are expected"
    if name == "SVDF" and len(inputs) == 5:  # the bias, the only one that may be left out, is none of those looked at
        yield from _of_memory([DTYPE_OF_CODE.get(tensors[index].type, "?") for index in inputs])
    if gives is not None and len(outputs) != gives:
        yield f"has {len(outputs)} outputs, {gives} is expected"
    missing = [index for index in inputs if index != -1 and index not in made]
    if missing:
        yield f"takes tensor {missing[0]}, which holds nothing when it runs"
    if len(set(outputs)) < len(outputs) or written.intersection(outputs):
        yield "puts its output where something is already"


def _of_memory(types: Sequence[str]) -> Iterator[str]:
    """LiteRT's integer kernel writes 16 bits whatever the file says, over the end of what TFLM has in 8
    (keyword_scrambled_8bit, which ended the process)."""
    if types[0] in ("int8", "uint8") and (types[2], types[4]) != ("int16", "int16"):
        yield f"keeps {types[4]} by weights in {types[2]}, and int16 is expected: it crashes the interpreter"


def _count(least: int, most: int | None) -> str:
    return f"{least}" if most == least else f"{least} or more" if most is None else f"{least} to {most}"


def _of_options(operator: Any, name: str, tensors: Sequence[Any], source: Any) -> Iterator[str]:
    """Parameters that kernels use as indices or divide by."""
    options = operator.builtinOptions
    shapes = [None if index == -1 else _list(tensors[index].shape) for index in _list(operator.inputs)]
    rank = len(shapes[0]) if shapes and shapes[0] is not None else 0
    axis = getattr(options, "axis", None)
    if isinstance(axis, int) and name in ("CONCATENATION", "PACK", "UNPACK", "GATHER"):
        most = rank + (name == "PACK")
        if not -most <= axis < most:
            yield f"has axis {axis} for a tensor of {rank} dimensions"
    for field in ("strideW", "strideH", "strideD", "dilationWFactor", "dilationHFactor", "filterWidth", "filterHeight"):
        if getattr(options, field, 1) < 1:
            yield f"has {field} {getattr(options, field)}"
    parts = {"SPLIT": "numSplits", "SPLIT_V": "numSplits", "UNPACK": "num"}.get(name)
    if parts is not None and getattr(options, parts, 0) != len(_list(operator.outputs)):
        yield f"makes {getattr(options, parts, 0)} parts and has {len(_list(operator.outputs))} outputs"
    yield from _of_weights(name, shapes)
    for position in _AXES.get(name, ()):
        index = _list(operator.inputs)[position]
        for value in _values(tensors[index], source.buffers):
            if not -rank <= value < rank:
                yield f"has axis {value} for a tensor of {rank} dimensions"
    subgraphs = [getattr(options, field, 0) for field in _CALLED]
    if any(not 0 <= called < len(source.subgraphs) for called in subgraphs):
        yield "calls a subgraph that is not there"


# Where an operator is told axes by a tensor: which of its inputs that is.
_AXES = dict.fromkeys(
    (
        "MEAN",
        "SUM",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "REDUCE_PROD",
        "REDUCE_ANY",
        "REDUCE_ALL",
        "ARG_MAX",
        "ARG_MIN",
        "TRANSPOSE",
        "REVERSE_V2",
        "CUMSUM",
    ),
    (1,),
) | {"SPLIT_V": (2,)}  # fmt: skip - a table
_CALLED = (
    "thenSubgraphIndex",
    "elseSubgraphIndex",
    "condSubgraphIndex",
    "bodySubgraphIndex",
    "initSubgraphIndex",
    "subgraph",
    "comparatorSubgraphIndex",
)  # fmt: skip - a table


def _values(tensor: Any, buffers: Sequence[Any]) -> Iterable[int]:
    """The numbers of a constant of int32, none of any other."""
    if DTYPE_OF_CODE.get(tensor.type) != "int32" or not _data(tensor, buffers):
        return ()
    return [int(value) for value in np.asarray(buffers[tensor.buffer].data).view(np.int32)]


def _of_weights(name: str, shapes: Sequence[Sequence[int] | None]) -> Iterator[str]:
    """Whether input, filter and bias belong together. Channels stand last but for a filter's outputs."""
    if name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return
    given, weights, bias = shapes[0], shapes[1], shapes[2] if len(shapes) > 2 else None
    if given is None or weights is None:
        return
    rank = 2 if name == "FULLY_CONNECTED" else 4
    if len(weights) != rank or (rank == 4 and len(given) != 4) or 0 in weights:
        yield f"has input {list(given)} and filter {list(weights)}"
        return
    outputs = weights[3] if name == "DEPTHWISE_CONV_2D" else weights[0]
    is_fitting = {
        "CONV_2D": given[-1] % weights[3] == 0 if rank == 4 else False,
        "DEPTHWISE_CONV_2D": given[-1] > 0 and outputs % given[-1] == 0,
        "FULLY_CONNECTED": weights[-1] > 0 and math.prod(given) % weights[-1] == 0,
    }[name]
    if not is_fitting:
        yield f"has input {list(given)} and filter {list(weights)}"
    if bias is not None and bias != [outputs]:
        yield f"has a bias of shape {list(bias)} for {outputs} channels"
