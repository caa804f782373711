"""ResNet50 as a runnable int8 network with random weights."""

import int8_networks

# Blocks of each stage, their width, and the stride of the first one.
_STAGES = ((3, 64, 1), (4, 128, 2), (6, 256, 2), (3, 512, 2))


def int8(side=224):
    net = int8_networks.Network()
    x = net.pool(net.conv(net.input(side, side, 3), 64, 7, 2), 3, 2, same=True)
    for count, width, first in _STAGES:
        for number in range(count):
            stride = first if number == 0 else 1
            shortcut = net.conv(x, 4 * width, 1, stride, relu=False) if number == 0 else x
            x = net.conv(net.conv(x, width, 1, stride), width, 3)
            x = net.add(net.conv(x, 4 * width, 1, relu=False), shortcut)
    return net.bytes(net.dense(net.mean(x, keeps=False), 1000))
