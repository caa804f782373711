"""Makes `tflsplit/kernels/probe.zip`: models of one operator each that tell kernels apart. Same bytes at each run.

    python tests/support/probe_pieces.py

A piece is named by the operators it stands for (`CONV_2D/int8`) and a number. What tells kernels apart is how they
round, so scales are such that many results lie exactly between two integers (powers of two), near to that (all others),
or beyond the range; channels fill a register of eight or sixteen, or do not. Weights and biases are spread over their
range by a rule, without a random number generator that another version of numpy could change.
"""

import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import tiny_models
from ai_edge_litert import schema_py_generated as schema

DESTINATION = Path(__file__).resolve().parents[2] / "tflsplit" / "kernels" / "probe.zip"

LEAST = {"int8": -128, "uint8": 0}
# Found by trial, among some 400 scales with such a sum: about one in ten gives another integer on Arm.
NEAR_TIES = {
    "int8": (0.17002680897712708, 0.1438688337802887, 0.0710238516330719),
    "uint8": (0.2386312335729599, 0.10227052122354507, 0.08850426226854324),
}
TIES, BETWEEN = 2.0**-7, 0.0061  # scale of weights: with powers of two elsewhere, half of all results are ties


class Piece(tiny_models.Builder):
    """One operator of one type between `x` and its output."""

    def __init__(self, dtype: str) -> None:
        super().__init__()
        self.dtype = dtype
        self.middle = 0 if dtype == "int8" else 128

    def value(self, name: str, shape: tuple[int, ...], scale: float, zero_point: int | None = None) -> int:
        place = self.middle if zero_point is None else zero_point
        return self.tensor(name, shape, scale=scale, zero_point=place, kind=self.dtype.upper())

    def weights(self, shape: tuple[int, ...], scale: float, *, axis: int | None = None, ties: bool = False) -> int:
        """Per channel along `axis`. For ties the weights are small, so that an output's step is a few times a sum's,
        and one sum in that few is a tie."""
        most = 3 if ties else 127
        data = (spread(shape, 73, -most, most) + self.middle).astype(self.dtype)
        made = self.tensor("w", shape, scale=scale, zero_point=self.middle, data=data, kind=self.dtype.upper())
        if axis is not None:
            extents = shape[axis]
            steps = [2.0 ** -(channel % 3) if ties else 1 / (1 + channel % 7) for channel in range(extents)]
            self.tensors[made].quantization.scale = [scale * step for step in steps]
            self.tensors[made].quantization.zeroPoint = [0] * extents
            self.tensors[made].quantization.quantizedDimension = axis
        return made

    def biases(self, count: int, of: tuple[int, int]) -> int:
        """The scales that TFLite demands: those of input times weights."""
        source, weights = (self.tensors[tensor].quantization for tensor in of)
        data = spread((count,), 29, -99, 99).astype(np.int32)
        made = self.tensor("b", (count,), data=data, kind="INT32")
        self.tensors[made].quantization.scale = [source.scale[0] * scale for scale in weights.scale]
        self.tensors[made].quantization.zeroPoint = [0] * len(weights.scale)
        if len(weights.scale) > 1:
            self.tensors[made].quantization.quantizedDimension = 0
        return made

    def integers(self, name: str, *values: int) -> int:
        return self.tensor(name, (len(values),), scale=None, data=np.array(values, np.int32), kind="INT32")

    def done(self, name: str, inputs: tuple[int, ...], output: int, version: int, **fields: object) -> bytes:
        """The file. Inputs that hold no data are the model's; `fields` are the operator's parameters."""
        options, kind = None, "NONE"
        if "options" in fields:
            kind = str(fields.pop("options"))
            options = getattr(schema, f"{kind}T")()
            for field, found in fields.items():
                setattr(options, field, found)
        self.operator(name, inputs, (output,), options, options_type=kind, version=version)
        # Each tensor once: a model that gives the same input to both sides has one.
        given = [tensor for tensor in dict.fromkeys(inputs) if tensor >= 0 and self.tensors[tensor].buffer == 0]
        return self.build(given, (output,))


def spread(shape: tuple[int, ...], start: int, least: int, most: int) -> np.ndarray:
    places = np.arange(start, start + int(np.prod(shape)), dtype=np.uint64)
    mixed = (places * 2654435761 % 2**32) >> 7  # Knuth's multiplicative hash (TAOCP 3, 6.4)
    return (mixed % (most - least + 1)).astype(np.int64).reshape(shape) + least


def convolution(dtype: str, channels: tuple[int, int], kernel: int, scale: float) -> bytes:
    made, (taken, given) = Piece(dtype), channels
    stride = 2 if kernel > 1 else 1
    x = made.value("x", (1, 7, 7, taken), 0.5, 3 + made.middle)
    is_tied = scale == TIES
    w = made.weights((given, kernel, kernel, taken), scale, axis=0 if dtype == "int8" else None, ties=is_tied)
    side = -(-7 // stride)
    y = made.value("y", (1, side, side, given), _room(kernel * kernel * taken, scale))
    return made.done(
        "CONV_2D",
        (x, w, made.biases(given, (x, w))),
        y,
        3 if dtype == "int8" else 1,
        options="Conv2DOptions",
        strideW=stride,
        strideH=stride,
    )


def depthwise(dtype: str, channels: int, scale: float) -> bytes:
    made = Piece(dtype)
    x = made.value("x", (1, 7, 7, channels), 0.5, made.middle - 5)
    w = made.weights((1, 3, 3, channels), scale, axis=3 if dtype == "int8" else None, ties=scale == TIES)
    y = made.value("y", (1, 7, 7, channels), _room(9, scale))
    return made.done(
        "DEPTHWISE_CONV_2D",
        (x, w, made.biases(channels, (x, w))),
        y,
        3 if dtype == "int8" else 1,
        options="DepthwiseConv2DOptions",
        strideW=1,
        strideH=1,
        depthMultiplier=1,
    )


def dense(dtype: str, extents: tuple[int, int], scale: float, *, per_channel: bool = False) -> bytes:
    made, (taken, given) = Piece(dtype), extents
    x = made.value("x", (4, taken), 0.5, made.middle + 7)
    w = made.weights((given, taken), scale, axis=0 if per_channel else None, ties=scale == TIES)
    y = made.value("y", (4, given), _room(taken, scale))
    return made.done(
        "FULLY_CONNECTED",
        (x, w, made.biases(given, (x, w))),
        y,
        4 if dtype == "int8" else 1,
        options="FullyConnectedOptions",
    )


def transposed(dtype: str, scale: float) -> bytes:
    made = Piece(dtype)
    x = made.value("x", (1, 5, 5, 6), 0.5, made.middle + 1)
    w = made.weights((9, 3, 3, 6), scale, axis=0 if dtype == "int8" else None, ties=scale == TIES)
    y = made.value("y", (1, 10, 10, 9), _room(24, scale))
    shape = made.integers("shape", 1, 10, 10, 9)
    return made.done(
        "TRANSPOSE_CONV",
        (shape, w, x, made.biases(9, (x, w))),
        y,
        3,
        options="TransposeConvOptions",
        strideW=2,
        strideH=2,
    )


def batch_product(scale: float, *, is_turned: bool) -> bytes:
    made = Piece("int8")
    x = made.value("x", (1, 2, 9, 13), 0.5, 3)
    y = made.value("y", (1, 2, 11, 13) if is_turned else (1, 2, 13, 11), scale, -2)
    z = made.value("z", (1, 2, 9, 11), 74 * 74 * 13**0.5 / 127 * 0.5 * scale if scale != TIES else 2.0)
    return made.done("BATCH_MATMUL", (x, y), z, 2, options="BatchMatMulOptions", adjY=is_turned)


def pairwise(name: str, dtype: str, scales: tuple[float, float, float]) -> bytes:
    made = Piece(dtype)
    x, y = (
        made.value(each, (1, 37, 29), scale, made.middle + zero)
        for each, scale, zero in zip("xy", scales, (4, -9), strict=False)
    )
    z = made.value("z", (1, 37, 29), scales[2], made.middle - 2)
    words = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "SQUARED_DIFFERENCE": "NONE"}[name]
    fields = {} if words == "NONE" else {"options": words}
    return made.done(name, (x, y), z, 2 if dtype == "int8" and words != "NONE" else 1, **fields)


def unary(
    name: str, dtype: str, version: int, scales: tuple[float, float], zeros: tuple[int, int] = (0, 0), **fields: object
) -> bytes:
    """All 256 values."""
    made = Piece(dtype)
    x, y = (
        made.value(each, (1, 16, 16), scale, made.middle + zero)
        for each, scale, zero in zip("xy", scales, zeros, strict=True)
    )
    return made.done(name, (x,), y, version, **fields)


def softmax(dtype: str, classes: int, scale: float, beta: float = 1.0) -> bytes:
    made = Piece(dtype)
    x = made.value("x", (1920 // classes, classes), scale)
    y = made.value("y", (1920 // classes, classes), 1 / 256, LEAST[dtype])
    return made.done("SOFTMAX", (x,), y, 2 if dtype == "int8" else 1, options="SoftmaxOptions", beta=beta)


def reduced(name: str, dtype: str, axes: tuple[int, ...], scales: tuple[float, float]) -> bytes:
    made = Piece(dtype)
    shape = (1, 7, 7, 24)
    x = made.value("x", shape, scales[0], made.middle + 2)
    kept = tuple(1 if place in axes else extent for place, extent in enumerate(shape))
    y = made.value("y", kept, scales[1], made.middle - 3)
    return made.done(name, (x, made.integers("axes", *axes)), y, 2, options="ReducerOptions", keepDims=True)


def mean_near_ties(dtype: str, scale: float) -> bytes:
    """With one sum of what the probe puts in so near to the middle between two integers that float32 decides."""
    made = Piece(dtype)
    x = made.value("x", (1, 7, 7, 24), 0.1, made.middle - 100)
    y = made.value("y", (1, 1, 1, 24), scale, made.middle - 60)
    return made.done("MEAN", (x, made.integers("axes", 1, 2)), y, 2, options="ReducerOptions", keepDims=True)


def pooled(dtype: str, channels: int, size: int) -> bytes:
    made = Piece(dtype)
    x, y = made.value("x", (1, 8, 8, channels), 0.1), made.value("y", (1, 8, 8, channels), 0.1)
    return made.done(
        "AVERAGE_POOL_2D",
        (x,),
        y,
        2 if dtype == "int8" else 1,
        options="Pool2DOptions",
        strideW=1,
        strideH=1,
        filterWidth=size,
        filterHeight=size,
    )


def resized(dtype: str, channels: int, size: int, **fields: object) -> bytes:
    made = Piece(dtype)
    x, y = made.value("x", (1, 5, 5, channels), 0.1), made.value("y", (1, size, size, channels), 0.1)
    return made.done(
        "RESIZE_BILINEAR", (x, made.integers("size", size, size)), y, 3, options="ResizeBilinearOptions", **fields
    )


def compared() -> bytes:
    made = Piece("int8")
    x, y = (made.value(each, (1, 37, 29), scale, zero) for each, scale, zero in (("x", 0.113, 4), ("y", 0.071, -9)))
    z = made.tensor("z", (1, 37, 29), scale=None, kind="BOOL")
    return made.done("GREATER", (x, y), z, 2, options="GreaterOptions")


def joined(dtype: str, scale: float) -> bytes:
    made = Piece(dtype)
    x, y = made.value("x", (1, 5, 11), 0.113), made.value("y", (1, 5, 6), scale)
    z = made.value("z", (1, 5, 17), 0.113)
    return made.done("CONCATENATION", (x, y), z, 2 if dtype == "int8" else 1, options="ConcatenationOptions", axis=2)


def dequantised(source: str) -> bytes:
    made = Piece(source)
    x, y = (
        made.value("x", (1, 16, 16), 0.0937, made.middle + 5),
        made.tensor("y", (1, 16, 16), scale=None, kind="FLOAT32"),
    )
    return made.done("DEQUANTIZE", (x,), y, 2)


def prelu() -> bytes:
    made = Piece("int8")
    x, y = made.value("x", (1, 8, 8, 9), 0.1, 5), made.value("y", (1, 8, 8, 9), 0.0625, -4)
    return made.done("PRELU", (x, made.weights((1, 1, 9), 0.01)), y, 1)


def requantised(source: str, scale: float, wanted: str, wanted_scale: float) -> bytes:
    made = Piece(wanted)
    x = made.tensor(
        "x",
        (1, 16, 16),
        scale=None if source == "float32" else scale,
        kind=source.upper(),
        zero_point={"int8": 3, "uint8": 131}.get(source, 0),
    )
    y = made.value("y", (1, 16, 16), wanted_scale, made.middle - 7)
    return made.done("QUANTIZE", (x,), y, 2 if source != "float32" else 1)


def _room(products: int, scale: float) -> float:
    """A scale of the output, a power of two, with which most results fit and some do not."""
    if scale == TIES:  # weights of 3 at most, see `Piece.weights`
        return 0.5 * scale * 2.0 ** np.ceil(np.log2(74 * 2 * np.sqrt(products) / 127))
    return 2.0 ** np.ceil(np.log2(0.5 * scale * 74 * 74 * np.sqrt(products) / 127))


def pieces() -> dict[str, tuple[bytes, ...]]:
    """By operator kind and type, the files to run."""
    ties, near = (0.25, 0.5, 0.5), (0.113, 0.071, 0.0937)
    products = (0.113, 0.071, 0.637)
    both: dict[str, tuple[bytes, ...]] = {}
    for dtype in ("int8", "uint8"):
        both |= {
            f"CONV_2D/{dtype}": (
                convolution(dtype, (3, 8), 3, BETWEEN),
                convolution(dtype, (16, 16), 1, TIES),
                convolution(dtype, (5, 19), 1, BETWEEN),
            ),
            f"DEPTHWISE_CONV_2D/{dtype}": (depthwise(dtype, 16, TIES), depthwise(dtype, 11, BETWEEN)),
            f"FULLY_CONNECTED/{dtype}": (
                dense(dtype, (64, 16), TIES),
                dense(dtype, (27, 37), BETWEEN),
                *((dense(dtype, (40, 21), BETWEEN, per_channel=True),) if dtype == "int8" else ()),
            ),
            f"TRANSPOSE_CONV/{dtype}": (transposed(dtype, TIES), transposed(dtype, BETWEEN)),
            f"MEAN/{dtype}": (
                reduced("MEAN", dtype, (1, 2), (0.1, 0.1)),
                reduced("MEAN", dtype, (1, 2), (0.13, 0.031)),
                reduced("MEAN", dtype, (3,), (0.1, 0.0625)),
            ),
            f"MEAN/{dtype}:ties": tuple(mean_near_ties(dtype, scale) for scale in NEAR_TIES[dtype]),
            f"AVERAGE_POOL_2D/{dtype}": (pooled(dtype, 16, 2), pooled(dtype, 5, 3)),
            f"RESIZE_BILINEAR/{dtype}": (
                resized(dtype, 8, 10, halfPixelCenters=True),
                resized(dtype, 5, 13, alignCorners=True),
                resized(dtype, 3, 8),
            ),
            f"SOFTMAX/{dtype}": (
                softmax(dtype, 10, 0.02),
                softmax(dtype, 3, 0.01),
                softmax(dtype, 64, 0.04),
                softmax(dtype, 5, 0.07),
            ),
            f"LOGISTIC/{dtype}": tuple(
                unary("LOGISTIC", dtype, 2 if dtype == "int8" else 1, (scale, 1 / 256), (0, -128))
                for scale in (0.05, 0.0217)
            ),
            f"TANH/{dtype}": tuple(
                unary("TANH", dtype, 2 if dtype == "int8" else 1, (scale, 1 / 128)) for scale in (0.05, 0.0217)
            ),
            f"LEAKY_RELU/{dtype}": tuple(
                unary("LEAKY_RELU", dtype, 2, scales, (3, -6), options="LeakyReluOptions", alpha=alpha)
                for scales, alpha in (((0.1, 0.07), 0.3), ((0.25, 0.5), 0.125))
            ),
            **{
                f"{name}/{dtype}": tuple(pairwise(name, dtype, each) for each in scales)
                for name, scales in (("ADD", (ties, near)), ("SUB", (ties, near)))
            },
            f"MUL/{dtype}": (pairwise("MUL", dtype, products), pairwise("MUL", dtype, (0.0317, 0.0551, 0.0833))),
            f"MUL/{dtype}:ties": (pairwise("MUL", dtype, (0.125, 0.25, 2.0)),),
        }
    return both | {
        "BATCH_MATMUL/int8": tuple(
            batch_product(scale, is_turned=turned)
            for scale, turned in itertools.product((TIES, BETWEEN), (False, True))
        ),
        "SQUARED_DIFFERENCE/int8": (pairwise("SQUARED_DIFFERENCE", "int8", products),),
        "SUM/int8": (reduced("SUM", "int8", (1, 2), (0.01, 0.07)),),
        "HARD_SWISH/int8": (unary("HARD_SWISH", "int8", 1, (0.06, 0.045), (5, -90)),),
        "PRELU/int8": (prelu(),),
        "EXP/int8": (unary("EXP", "int8", 2, (0.03, 0.18), (0, -128)),),
        "LOG/int8": (unary("LOG", "int8", 2, (0.03, 0.03), (-128, 60)),),
        "RELU/int8": (unary("RELU", "int8", 2, (0.11, 0.07)), unary("RELU", "int8", 2, (0.25, 0.5))),
        "RELU6/int8": (unary("RELU6", "int8", 2, (0.11, 6 / 255), (0, -128)),),
        "ABS/int8": (unary("ABS", "int8", 4, (0.11, 0.07), (9, -100), options="AbsOptions"),),
        "GREATER/int8>bool": (compared(),),
        "DEQUANTIZE/int8>float32": (dequantised("int8"),),
        "DEQUANTIZE/uint8>float32": (dequantised("uint8"),),
        "CONCATENATION/int8": (joined("int8", 0.113),),
        "CONCATENATION/uint8": (joined("uint8", 0.113), joined("uint8", 0.0712)),
        "RSQRT/int8": (unary("RSQRT", "int8", 2, (0.03, 0.05), (-128, -128)),),
        "GELU/int8": (unary("GELU", "int8", 2, (0.03, 0.02), (0, -100), options="GeluOptions"),),
        "L2_NORMALIZATION/int8": (unary("L2_NORMALIZATION", "int8", 2, (0.03, 1 / 128), options="L2NormOptions"),),
        "QUANTIZE/int8": (requantised("int8", 0.25, "int8", 0.5), requantised("int8", 0.11, "int8", 0.13)),
        "QUANTIZE/int8>uint8": (requantised("int8", 0.25, "uint8", 0.5), requantised("int8", 0.11, "uint8", 0.13)),
        "QUANTIZE/uint8>int8": (requantised("uint8", 0.25, "int8", 0.5), requantised("uint8", 0.11, "int8", 0.13)),
        "QUANTIZE/float32>int8": (requantised("float32", 0, "int8", 0.25), requantised("float32", 0, "int8", 0.13)),
        "QUANTIZE/float32>uint8": (requantised("float32", 0, "uint8", 0.25), requantised("float32", 0, "uint8", 0.13)),
    }


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for kind, files in sorted(pieces().items()):
            for number, data in enumerate(files):
                made.writestr(zipfile.ZipInfo(f"{kind}/{number}"), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


if __name__ == "__main__":
    DESTINATION.write_bytes(archive())
    print(f"{DESTINATION}: {DESTINATION.stat().st_size} bytes")
