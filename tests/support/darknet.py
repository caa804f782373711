"""The four networks of DeeperThings, layer by layer, as Darknet's configurations have them."""

import int8_networks

from tflsplit.placement.published import Layer


class _Chain:
    def __init__(self, side, channels=3):
        self.side, self.channels, self.layers = side, channels, []

    def conv(self, channels, size, stride=1, *, pad=True):
        before = self.side * self.side * self.channels
        weights = size * size * self.channels * channels
        padding = size // 2 if pad else 0
        self.side, self.channels = (self.side + 2 * padding - size) // stride + 1, channels
        self.layers.append(Layer(before, self.side * self.side * channels, weights, is_shared=True))

    def pool(self, size=2, stride=2):
        before = self.side * self.side * self.channels
        self.side = (self.side - size) // stride + 1
        self._other(before)

    def becomes(self, side, channels):
        """A layer that moves features: route, reorg, crop, region."""
        before = self.side * self.side * self.channels
        self.side, self.channels = side, channels
        self._other(before)

    def _other(self, before):
        self.layers.append(Layer(before, self.side * self.side * self.channels, 0, is_shared=False))


def yolo_v2():
    net = _Chain(608)
    for step in (32, "p", 64, "p", 128, (64, 1), 128, "p", 256, (128, 1), 256, "p"):
        _step(net, step)
    for step in (512, (256, 1), 512, (256, 1), 512, "p", 1024, (512, 1), 1024, (512, 1), 1024, 1024, 1024):
        _step(net, step)
    net.becomes(38, 512)  # route to the last layer before the pool
    net.conv(64, 1)
    net.becomes(19, 256)  # reorg
    net.becomes(19, 1280)  # route
    net.conv(1024, 3)
    net.conv(425, 1)
    net.becomes(19, 425)  # region
    return net.layers


def vgg16():
    net = _Chain(224)
    net.becomes(224, 3)  # crop
    for step in (64, 64, "p", 128, 128, "p", 256, 256, 256, "p", 512, 512, 512, "p", 512, 512, 512):
        _step(net, step)
    return net.layers


def extraction():
    net = _Chain(224)
    net.conv(64, 7, 2)
    for step in ("p", 192, "p", (128, 1), 256, (256, 1), 512, "p", *((256, 1), 512) * 4, (512, 1), 1024, "p"):
        _step(net, step)
    for step in ((512, 1), 1024, (512, 1), 1024, (1000, 1)):
        _step(net, step)
    return net.layers


def alexnet():
    net = _Chain(227)
    net.conv(96, 11, 4, pad=False)
    net.pool(3, 2)
    net.conv(256, 5)
    net.pool(3, 2)
    for channels in (384, 384, 256):
        net.conv(channels, 3)
    return net.layers


def _step(net, step):
    if step == "p":
        net.pool()
    elif isinstance(step, tuple):
        net.conv(*step)
    else:
        net.conv(step, 3)


def int8(name, *, is_dense=True):
    """The same as a runnable int8 network with random weights, with its dense layers or without."""
    net = int8_networks.Network()
    return net.bytes(globals()[f"_int8_{name}"](net, is_dense))


def _int8_yolo_v2(net, _is_dense):
    x = _int8_chain(net, net.input(608, 608, 3), (32, "p", 64, "p", 128, (64, 1), 128, "p", 256, (128, 1), 256, "p"))
    high = x = _int8_chain(net, x, (512, (256, 1), 512, (256, 1), 512))
    x = _int8_chain(net, x, ("p", 1024, (512, 1), 1024, (512, 1), 1024, 1024, 1024))
    return _int8_chain(net, net.joined(net.blocked(net.conv(high, 64, 1), 2), x), (1024, (425, 1)))


def _int8_vgg16(net, is_dense):
    blocks = (64, 64, "p", 128, 128, "p", 256, 256, 256, "p", 512, 512, 512, "p", 512, 512, 512, "p")
    return _classified(net, _int8_chain(net, net.input(224, 224, 3), blocks), is_dense=is_dense)


def _int8_extraction(net, _is_dense):
    x = net.conv(net.input(224, 224, 3), 64, 7, 2)
    steps = ("p", 192, "p", (128, 1), 256, (256, 1), 512, "p", *((256, 1), 512) * 4, (512, 1), 1024, "p")
    x = _int8_chain(net, x, (*steps, (512, 1), 1024, (512, 1), 1024, (1000, 1)))
    return net.mean(x, keeps=False)


def _int8_alexnet(net, is_dense):
    x = net.pool(net.conv(net.input(227, 227, 3), 96, 11, 4, same=False), 3, 2)
    x = _int8_chain(net, net.pool(net.conv(x, 256, 5), 3, 2), (384, 384, 256))
    return _classified(net, net.pool(x, 3, 2), is_dense=is_dense)


def _classified(net, x, *, is_dense):
    if not is_dense:
        return x
    for _ in range(2):
        x = net.dense(net.flat(x) if len(net.shapes[x]) == 4 else x, 4096, relu=True)
    return net.dense(x, 1000)


def _int8_chain(net, x, steps):
    for step in steps:
        x = net.pool(x) if step == "p" else net.conv(x, *(step if isinstance(step, tuple) else (step,)))
    return x
