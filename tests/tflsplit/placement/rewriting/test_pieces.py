"""Any part of what an operator makes, computed alone from what it needs, equals that part of the whole."""

import int8_networks
import numpy as np
import pytest

from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.package import verify
from tflsplit.placement.rewriting import boxes, pieces
from tflsplit.placement.rewriting.network import Network


def _parts(shape, random):
    """Thirds and sevenths of each axis, at its edges and inside, and boxes anywhere."""
    whole = boxes.whole(shape)
    for axis, extent in enumerate(shape):
        for count in {min(3, extent), min(7, extent)} - {1}:
            edges = [extent * each // count for each in range(count + 1)]
            for place in {0, count // 2, count - 1}:
                yield boxes.replaced(whole, axis, (edges[place], edges[place + 1]))
    for _ in range(4):
        starts = [int(random.integers(0, extent)) for extent in shape]
        yield tuple(
            (start, int(random.integers(start, extent)) + 1) for start, extent in zip(starts, shape, strict=True)
        )


@pytest.mark.parametrize("kernels", [Kernels.SERVING, Kernels.BUILTIN])
@pytest.mark.parametrize("model", [int8_networks.everything, int8_networks.pyramid])
def test_each_part_of_each_operator_is_exact(model, kernels):
    network, random, compared = Network(flatgraph.read(model())), np.random.default_rng(0), 0
    with Interpreter(model(), keeps_intermediates=True, kernels=kernels) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        whole.run(*sample)
        for operator in network.graph.operators:
            assert network.rules[operator.index] is not None, operator.name
            (made,) = operator.outputs
            for box in _parts(network.shapes[made], random):
                piece = pieces.piece(network, operator.index, operator.index + 1, {made: box})
                given = [np.ascontiguousarray(whole.tensor(t)[boxes.slices(part)]) for t, part in piece.inputs.items()]
                with Interpreter(pieces.model(network, piece), kernels=kernels) as part:
                    (found,) = part.run(*given)
                expected = whole.tensor(made)[boxes.slices(box)]
                assert np.array_equal(found, expected), (operator.name, box)
                compared += found.size
    assert compared > 10_000


def test_overlaps_are_computed_again_and_counted():
    network = Network(flatgraph.read(int8_networks.everything()))
    convolution = network.graph.operators[0]
    (made,) = convolution.outputs
    _, rows, columns, channels = network.shapes[made]
    halves = [((0, 1), part, (0, columns), (0, channels)) for part in ((0, rows // 2), (rows // 2, rows))]
    whole, *shared = (
        pieces.piece(network, 0, 2, {network.graph.operators[1].outputs[0]: box})
        for box in (network.wholes[network.graph.operators[1].outputs[0]], *(_half(network, each) for each in (0, 1)))
    )
    assert sum(each.macs for each in shared) > whole.macs
    alone = [pieces.piece(network, 0, 1, {made: half}) for half in halves]
    assert sum(each.macs for each in alone) == whole.macs
    assert all(each.parameter_bytes == whole.parameter_bytes for each in alone)  # rows need all weights


def test_output_channels_share_the_weights():
    network = Network(flatgraph.read(int8_networks.everything()))
    dense = next(each for each in network.graph.operators if each.name == "FULLY_CONNECTED")
    (made,) = dense.outputs
    shares = [
        pieces.piece(network, dense.index, dense.index + 1, {made: ((0, 1), part)}) for part in ((0, 10), (10, 30))
    ]
    whole = pieces.piece(network, dense.index, dense.index + 1, {made: network.wholes[made]})
    assert sum(each.parameter_bytes for each in shares) == whole.parameter_bytes
    assert sum(each.macs for each in shares) == whole.macs


def _half(network, number):
    box = network.wholes[network.graph.operators[1].outputs[0]]
    rows = box[1][1]
    return boxes.replaced(box, 1, ((0, rows // 2), (rows // 2, rows))[number])
