"""Whether a runtime turns int32 sums into int8 as whoever adds up partial sums does, asked of the runtime itself.

A 1×1 convolution and a dense layer with weights of zero give their biases requantised, whatever their input. So a row
of chosen biases shows what becomes of chosen sums: small and large ones, and those that lie halfway between two steps.
"""

from functools import cache
from typing import Any

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import CODE_OF_DTYPE, Array

KINDS = ("CONV_2D", "FULLY_CONNECTED")
_COUNT = 4096
_SCALE, _ZERO = 0.5, -3  # of the result; the input's scale is 1
_VERSIONS = {"CONV_2D": 3, "FULLY_CONNECTED": 4}


def requantised(sums: Array, factors: Array, zero: int) -> Array:
    """What XNNPACK makes of sums with a bias in them: a float32 product, rounded ties to even."""
    scaled = np.rint(sums.astype(np.float32) * factors.astype(np.float32)) + np.float32(zero)
    made: Array = np.clip(scaled, -128, 127).astype(np.int8)
    return made


@cache
def differing(kernels: Kernels = Kernels.SERVING) -> tuple[str, ...]:
    """The kinds of operators of which this runtime's results are not those. DeviceError where there is no runtime."""
    return tuple(kind for kind in KINDS if _differs(kind, kernels))


def _differs(kind: str, kernels: Kernels) -> bool:
    random = np.random.default_rng(0)
    # A dense layer has one scale for all, and that one makes every other sum a tie.
    scales = np.full(_COUNT if kind == "CONV_2D" else 1, 0.25, np.float32)
    sums = random.integers(-600, 600, _COUNT)
    if kind == "CONV_2D":
        sums[1::2] = (random.uniform(-1, 1, _COUNT // 2) * 2.0 ** random.integers(4, 30, _COUNT // 2)).astype(np.int64)
        reach = np.maximum(1, np.abs(sums[1::2])) / random.uniform(1, 140, _COUNT // 2)
        scales[1::2] = (_SCALE / reach).astype(np.float32)
    expected = requantised(sums.astype(np.int32), scales / np.float32(_SCALE), _ZERO)
    with Interpreter(_model(kind, scales, sums.astype(np.int32)), name=f"check of {kind}", kernels=kernels) as opened:
        (found,) = opened.run(np.full(opened.inputs[0].shape, 5, np.int8))
    return not np.array_equal(found.reshape(-1), expected)


def _model(kind: str, scales: Array, biases: Array) -> bytes:
    schema, is_convolution = flatgraph.schema(), kind == "CONV_2D"
    model, subgraph, operator, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    square = (1, 1) if is_convolution else ()
    weights = np.zeros((_COUNT, *square, 1), np.int8)
    subgraph.tensors, model.buffers = [], [schema.BufferT()]
    for name, shape, step, zero, data in (
        ("input", (1, *square, 1), [1.0], 0, None),
        ("weights", weights.shape, scales, 0, weights),
        ("biases", biases.shape, scales, 0, biases),
        ("result", (1, *square, _COUNT), [_SCALE], _ZERO, None),
    ):
        subgraph.tensors.append(_tensor(schema, name, shape, step, zero))
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            subgraph.tensors[-1].buffer = len(model.buffers) - 1
            subgraph.tensors[-1].type = CODE_OF_DTYPE[data.dtype.name]
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    options = schema.Conv2DOptionsT() if is_convolution else schema.FullyConnectedOptionsT()
    if is_convolution:
        options.strideH = options.strideW = 1
    operator.builtinOptions = options
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
    code.version = _VERSIONS[kind]
    subgraph.inputs, subgraph.outputs, subgraph.operators = [0], [3], [operator]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [subgraph]
    return flatgraph.pack(model)


def _tensor(schema: Any, name: str, shape: tuple[int, ...], scales: Any, zero: int) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.type = name.encode(), list(shape), CODE_OF_DTYPE["int8"]
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale, made.quantization.zeroPoint = [float(each) for each in scales], [zero] * len(scales)
    return made
