"""int8 networks with random weights, built straight from the schema, whose tensors fill their range."""

from dataclasses import dataclass, field

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tiny_models import Builder

_SPREAD = 40.0  # what the standard deviation of a result is meant to be, in steps
_FILLED = 73.0  # and of weights that are even over int8


@dataclass
class Network:
    """Layers take a tensor and give one; `shapes` are by tensor. A layer's result fills its range."""

    seed: int = 0
    made: Builder = field(default_factory=Builder)
    shapes: dict = field(default_factory=dict)
    inputs: list = field(default_factory=list)

    def __post_init__(self):
        self.random = np.random.default_rng(self.seed)

    def input(self, *shape):
        index = self._tensor((1, *shape), 0.02)
        self.inputs.append(index)
        return index

    def conv(self, x, channels, size=3, stride=1, *, same=True, dilation=1, relu=True):
        depth = self.shapes[x][3]
        options = schema.Conv2DOptionsT()
        options.dilationHFactor = options.dilationWFactor = dilation
        reach = (size - 1) * dilation + 1
        filters = (channels, size, size, depth)
        return self._window("CONV_2D", x, filters, options, reach=reach, stride=stride, same=same, relu=relu)

    def depthwise(self, x, size=3, stride=1, *, same=True, multiplier=1, relu=True):
        channels = self.shapes[x][3] * multiplier
        options = schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier, options.dilationHFactor, options.dilationWFactor = multiplier, 1, 1
        filters = (1, size, size, channels)
        return self._window("DEPTHWISE_CONV_2D", x, filters, options, reach=size, stride=stride, same=same, relu=relu)

    def pool(self, x, size=2, stride=2, *, same=False, average=False):
        options = schema.Pool2DOptionsT()
        options.filterWidth = options.filterHeight = size
        options.strideW = options.strideH = stride
        options.padding = int(not same)
        shape = (1, *_extents(self.shapes[x], size, stride, same), self.shapes[x][3])
        name = "AVERAGE_POOL_2D" if average else "MAX_POOL_2D"
        return self._one(name, (x,), shape, self._scale(x), options, zero_point=self._zero(x))

    def transposed(self, x, channels, size=2, stride=2, *, same=True):
        _, rows, columns, depth = self.shapes[x]
        grown = [extent * stride if same else (extent - 1) * stride + size for extent in (rows, columns)]
        shape = (1, *grown, channels)
        weights, bias, scale = self._filters(x, (channels, size, size, depth), 0, size * size * depth)
        sizes = self.made.tensor("sizes", (4,), scale=None, data=np.array(shape, np.int32), kind="INT32")
        options = schema.TransposeConvOptionsT()
        options.strideW = options.strideH = stride
        options.padding = int(not same)
        return self._one("TRANSPOSE_CONV", (sizes, weights, x, bias), shape, scale, options, version=3)

    def resize(self, x, factor, *, bilinear):
        _, rows, columns, depth = self.shapes[x]
        shape = (1, rows * factor, columns * factor, depth)
        sizes = self.made.tensor("sizes", (2,), scale=None, data=np.array(shape[1:3], np.int32), kind="INT32")
        name = "RESIZE_BILINEAR" if bilinear else "RESIZE_NEAREST_NEIGHBOR"
        options = schema.ResizeBilinearOptionsT() if bilinear else schema.ResizeNearestNeighborOptionsT()
        options.halfPixelCenters = True
        return self._one(name, (x, sizes), shape, self._scale(x), options, version=3, zero_point=self._zero(x))

    def add(self, one, other):
        scale = (self._scale(one) + self._scale(other)) / 1.4
        return self._one("ADD", (one, other), self.shapes[one], scale, schema.AddOptionsT(), version=2)

    def multiply(self, one, other):
        scale = self._scale(one) * self._scale(other) * _SPREAD
        options = schema.MulOptionsT()
        return self._one("MUL", (one, other), self.shapes[one], scale, options, version=2)

    def joined(self, *parts):
        shape = (*self.shapes[parts[0]][:3], sum(self.shapes[part][3] for part in parts))
        scale, zero = max(map(self._scale, parts)), self._zero(parts[0])
        alike = [
            self._one("QUANTIZE", (part,), self.shapes[part], scale, None, version=2, zero_point=zero) for part in parts
        ]
        options = schema.ConcatenationOptionsT()
        options.axis = -1
        return self._one("CONCATENATION", alike, shape, scale, options, version=2, zero_point=zero)

    def padded(self, x, amount):
        _, rows, columns, depth = self.shapes[x]
        table = np.array([(0, 0), (amount, amount), (amount, amount), (0, 0)], np.int32)
        amounts = self.made.tensor("amounts", (4, 2), scale=None, data=table, kind="INT32")
        shape = (1, rows + 2 * amount, columns + 2 * amount, depth)
        options = schema.PadOptionsT()
        return self._one("PAD", (x, amounts), shape, self._scale(x), options, version=2, zero_point=self._zero(x))

    def blocked(self, x, size):
        """Blocks of pixels as channels."""
        _, rows, columns, depth = self.shapes[x]
        options = schema.SpaceToDepthOptionsT()
        options.blockSize = size
        shape = (1, rows // size, columns // size, depth * size * size)
        return self._one("SPACE_TO_DEPTH", (x,), shape, self._scale(x), options, zero_point=self._zero(x))

    def sigmoid(self, x):
        return self._one("LOGISTIC", (x,), self.shapes[x], 1 / 256, None, version=2, zero_point=-128)

    def mean(self, x, *, keeps=True):
        depth = self.shapes[x][3]
        axes = self.made.tensor("axes", (2,), scale=None, data=np.array([1, 2], np.int32), kind="INT32")
        options = schema.ReducerOptionsT()
        options.keepDims = keeps
        shape = (1, 1, 1, depth) if keeps else (1, depth)
        return self._one("MEAN", (x, axes), shape, self._scale(x) / 4, options, version=2)

    def flat(self, x):
        shape = (1, int(np.prod(self.shapes[x])))
        wanted = self.made.tensor("shape", (2,), scale=None, data=np.array(shape, np.int32), kind="INT32")
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self._one("RESHAPE", (x, wanted), shape, self._scale(x), options, zero_point=self._zero(x))

    def dense(self, x, channels, *, relu=False):
        depth = self.shapes[x][-1]
        weights, bias, scale = self._filters(x, (channels, depth), 0, depth)
        options = schema.FullyConnectedOptionsT()
        options.fusedActivationFunction = int(relu)
        return self._one("FULLY_CONNECTED", (x, weights, bias), (1, channels), scale, options, version=4)

    def softmax(self, x):
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        return self._one("SOFTMAX", (x,), self.shapes[x], 1 / 256, options, version=2, zero_point=-128)

    def squeezed(self, x, channels):
        """A squeeze-and-excite block."""
        scales = self.conv(self.conv(self.mean(x), channels, 1), self.shapes[x][3], 1, relu=False)
        return self.multiply(x, self.sigmoid(scales))

    def bytes(self, *outputs) -> bytes:
        return self.made.build(self.inputs, outputs)

    def _window(self, name, x, filters, options, *, reach, stride, same, relu):
        axis = 3 if name == "DEPTHWISE_CONV_2D" else 0
        channels = filters[axis]
        weights, bias, scale = self._filters(x, filters, axis, int(np.prod(filters)) // channels)
        options.strideW = options.strideH = stride
        options.padding, options.fusedActivationFunction = int(not same), int(relu)
        shape = (1, *_extents(self.shapes[x], reach, stride, same), channels)
        return self._one(name, (x, weights, bias), shape, scale, options, version=3)

    def _filters(self, x, shape, axis, fan):
        """Weights with a scale for each channel, biases, and the scale of what they make."""
        channels = shape[axis]
        # Smaller for more of them, so that scales stay in float32's range through a hundred layers.
        scales = (self.random.uniform(0.005, 0.02, channels) / fan**0.5).astype(np.float32)
        data = self.random.integers(-127, 128, shape, dtype=np.int8)
        weights = self.made.tensor("weights", shape, data=data)
        step = np.float32(self._scale(x)) * scales
        bias_data = self.random.integers(-2000, 2000, channels, dtype=np.int32)
        bias = self.made.tensor("bias", (channels,), data=bias_data, kind="INT32")
        for index, values, dimension in ((weights, scales, axis), (bias, step, 0)):
            quantisation = self.made.tensors[index].quantization
            quantisation.scale, quantisation.zeroPoint = list(map(float, values)), [0] * channels
            quantisation.quantizedDimension = dimension
        return weights, bias, float(step.mean()) * _FILLED * _FILLED * fan**0.5 / _SPREAD

    def _one(self, name, inputs, shape, scale, options=None, *, version=1, zero_point=None):
        zero = int(self.random.integers(-20, 20)) if zero_point is None else zero_point
        output = self._tensor(shape, scale, zero)
        kind = type(options).__name__.removesuffix("T") if options else "NONE"
        self.made.operator(name, inputs, (output,), options, options_type=kind, version=version)
        return output

    def _tensor(self, shape, scale, zero_point=3):
        index = self.made.tensor(f"t{len(self.shapes)}", shape, scale=scale, zero_point=zero_point)
        self.shapes[index] = tuple(shape)
        return index

    def _scale(self, index):
        return self.made.tensors[index].quantization.scale[0]

    def _zero(self, index):
        return self.made.tensors[index].quantization.zeroPoint[0]


def _extents(shape, reach, stride, same):
    return [(-(-extent // stride) if same else (extent - reach) // stride + 1) for extent in shape[1:3]]


def everything() -> bytes:
    """Each operator that can be shared, on odd sizes, with a shortcut, two resolutions that are joined, and two blocks
    of squeeze and excite."""
    net = Network()
    x = net.conv(net.input(37, 35, 3), 12, 3, 2)
    first = net.pool(x, 3, 2, same=True)
    x = net.depthwise(net.conv(first, 24, 1), 5)
    x = net.squeezed(x, 6)
    x = net.add(net.conv(x, 12, 1, relu=False), first)
    x = net.conv(net.padded(x, 1), 16, 3, 2, same=False)
    low = net.pool(net.conv(x, 16, 3, dilation=2), 3, 1, same=True, average=True)
    wide = net.joined(net.transposed(low, 8, 3), net.resize(low, 2, bilinear=False), net.resize(low, 2, bilinear=True))
    x = net.squeezed(net.conv(wide, 20, 3), 5)
    x = net.pool(x, 2, 2, average=True)
    x = net.dense(net.dense(net.flat(x), 30, relu=True), 10)
    return net.bytes(net.softmax(x))


def pyramid() -> bytes:
    """A picture in, a picture out, and classes beside it: two outputs."""
    net = Network(1)
    high = net.conv(net.input(24, 20, 3), 8)
    low = net.conv(net.pool(high, 2, 2), 16)
    x = net.joined(net.transposed(low, 8, 2), high)
    classes = net.dense(net.mean(low, keeps=False), 5)
    return net.bytes(net.sigmoid(net.conv(x, 2, 1, relu=False)), classes)


def residual(blocks=(3, 4, 23, 3), side=224) -> bytes:
    """ResNet101, or one of other depth."""
    net = Network(11)
    x = net.pool(net.conv(net.input(side, side, 3), 64, 7, 2), 3, 2, same=True)
    for number, count in enumerate(blocks):
        width = 64 << number
        for place in range(count):
            stride = 2 if place == 0 and number else 1
            short = net.conv(x, 4 * width, 1, stride, relu=False) if place == 0 else x
            narrow = net.conv(net.conv(x, width, 1, stride), width, 3)
            x = net.add(net.conv(narrow, 4 * width, 1, relu=False), short)
    return net.bytes(net.softmax(net.dense(net.mean(x, keeps=False), 1000)))


def mobile(side=224) -> bytes:
    """MobileNetV2, width 1."""
    net = Network(12)
    x, channels = net.conv(net.input(side, side, 3), 32, 3, 2), 32
    groups = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for widened, width, count, stride in groups:
        for place in range(count):
            wide = net.conv(x, channels * widened, 1) if widened > 1 else x
            made = net.conv(net.depthwise(wide, 3, stride if place == 0 else 1), width, 1, relu=False)
            x, channels = (made if place == 0 else net.add(made, x)), width
    return net.bytes(net.softmax(net.dense(net.mean(net.conv(x, 1280, 1), keeps=False), 1000)))
