"""The published programmes give the published figures (MB of float32), to the last digit."""

import darknet
import pytest

from tflsplit.placement import published

pytest.importorskip("scipy", reason="SciPy solves the programmes")

# Layers from the one where sharing by weights starts, and by the number of machines: shared by outputs without and with
# reuse, and the optimum.
EXCHANGED = {
    darknet.yolo_v2: (12, {2: (36.349, 27.477, 19.836), 3: (64.977, 53.148, 37.701), 4: (91.675, 78.367, 55.073),
                           5: (117.601, 103.405, 72.247), 6: (143.140, 128.354, 89.323)}),
    darknet.vgg16: (7, {2: (21.074, 15.856, 13.246), 6: (79.278, 70.581, 66.232)}),
    darknet.extraction: (4, {2: (10.635, 7.925, 7.120), 6: (39.802, 35.287, 30.082)}),
    darknet.alexnet: (2, {2: (1.692, 1.432, 1.259), 6: (6.060, 5.627, 5.050)}),
}  # fmt: skip
WHOLE = {
    darknet.yolo_v2: (461.051, 377.661),
    darknet.vgg16: (202.042, 181.637),
    darknet.extraction: (46.994, 41.790),
    darknet.alexnet: (9.687, 9.110),
}
DEPLOYED = {
    darknet.yolo_v2: "FSFSO-FSFSOFS-I--FS-",
    darknet.vgg16: "OFS-OFS-OFS",
    darknet.extraction: "IFSO-IFSFSFSFSO-IFSFS",
    darknet.alexnet: "O-OFS",
}
# By the number of machines from 1 on, then all by features and all by weights for six, and the first layer by weights.
MEMORY = {
    darknet.yolo_v2: ((255.52, 127.80, 85.64, 64.40, 51.66, 43.42), 212.39, 85.71, 8),
    darknet.vgg16: ((84.53, 42.34, 28.87, 21.91, 19.02, 17.10), 63.12, 35.50, 7),
    darknet.extraction: ((97.49, 49.48, 33.95, 26.19, 21.53, 18.42), 94.31, 19.43, 4),
    darknet.alexnet: ((16.76, 8.59, 6.11, 4.88, 4.13, 3.64), 15.28, 4.28, 2),
}


def _by_outputs(layers):
    return "".join(published.OUTPUT if layer.is_shared else published.OTHER for layer in layers)


@pytest.mark.parametrize("network", EXCHANGED)
def test_the_exchange_of_the_layers_shared_by_weights(network):
    start, figures = EXCHANGED[network]
    layers = network()[start:]
    for machines, expected in figures.items():
        types = _by_outputs(layers)
        found = (
            published.exchanged_bytes(layers, types, machines, reuses=False),
            published.exchanged_bytes(layers, types, machines),
            published.fusing(layers, machines)[1],
        )
        assert tuple(round(each / 1e6, 3) for each in found) == expected


@pytest.mark.parametrize("network", WHOLE)
def test_the_exchange_of_whole_networks_for_six(network):
    layers = network()
    found = (published.exchanged_bytes(layers, _by_outputs(layers), 6), published.fusing(layers, 6)[1])
    assert tuple(round(each / 1e6, 3) for each in found) == WHOLE[network]


@pytest.mark.parametrize("network", DEPLOYED)
def test_the_types_that_were_deployed_are_the_optimum(network):
    layers = network()[EXCHANGED[network][0] :]
    types, least = published.fusing(layers, 6)
    assert published.exchanged_bytes(layers, DEPLOYED[network], 6) == pytest.approx(least)
    assert types == DEPLOYED[network]


@pytest.mark.parametrize("network", MEMORY)
def test_the_memory_of_a_machine_and_the_breakpoint(network):
    layers = network()
    by_machines, by_features, by_weights, first = MEMORY[network]
    found = [published.memory_bytes(layers, 0, 1), *(published.breakpoint_of(layers, each)[1] for each in range(2, 7))]
    assert tuple(round(each / 1e6, 2) for each in found) == by_machines
    assert round(published.memory_bytes(layers, len(layers), 6) / 1e6, 2) == by_features
    assert round(published.memory_bytes(layers, 0, 6) / 1e6, 2) == by_weights
    assert published.breakpoint_of(layers, 6)[0] == first
