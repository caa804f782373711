"""Sums over parts of the input, added up and finished, give what the operator gives, bit for bit."""

import int8_networks
import numpy as np
import pytest

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.package import verify
from tflsplit.placement import placement, running
from tflsplit.placement.machines import Machine
from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting import boxes, partial_sums, sum_models
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import layouts
from tflsplit.placement.searching.layouts import Layout

RELU_N1_TO_1, RELU6 = 2, 3


def _added(network, *, groups=((0, 1, 2),), count=3):
    """One operator, its input channels shared within each group of machines, its result laid out alike."""
    (operator,) = network.graph.operators
    machines = [Machine(f"m{each}", 1e9 * (each + 1)) for each in range(count)]
    (target,), source = operator.outputs, operator.inputs[0]
    makes = Layout(groups).parts(network.shapes[target], machines)
    adds: list = [None] * count
    for group in groups:
        hull = boxes.hull([makes[each] for each in group])
        needed = network.rules[0].needs((*hull[:-1], network.wholes[target][-1]))[source]
        for each, part in zip(group, layouts.shares(needed[-1][1], [1.0 + each for each in group]), strict=True):
            adds[each] = (*needed[:-1], part)
    stage = Stage(0, 1, tuple({target: box} if box else {} for box in makes), tuple(adds))
    return Placement(count, (stage,), 0, count - 1)


def _differing(data, placed, samples=3, *, given=None):
    network = Network(flatgraph.read(data))
    scheduled, differing, seen = placement.schedule(network, placed), 0, set()
    with Interpreter(data) as whole:
        drawn = [given] if given is not None else verify.random_samples(whole.inputs, samples)
        for sample in drawn:
            (expected,), (found,) = whole.run(*sample), running.run(network, placed, scheduled, sample)
            differing += int(np.count_nonzero(expected != found))
            seen.update(np.unique(expected).tolist())
    return differing, len(seen)


def _edited(data, *, activation=None, zero=None, weights=None, scales=None, bias=None):
    """The model with another activation, input zero point, or weights; for one operator."""
    graph = flatgraph.read(data)
    subgraph = graph.source.subgraphs[0]
    operator = subgraph.operators[0]
    if activation is not None:
        operator.builtinOptions.fusedActivationFunction = activation
    if zero is not None:
        subgraph.tensors[operator.inputs[0]].quantization.zeroPoint = [zero]
    for index, values in ((1, weights), (2, bias)):
        if values is not None:
            buffer = graph.source.buffers[subgraph.tensors[operator.inputs[index]].buffer]
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    for index, scale in zip((operator.inputs[0], operator.inputs[1], operator.outputs[0]), scales or (), strict=False):
        found = subgraph.tensors[index].quantization
        found.scale = [scale] * len(found.scale)
    return flatgraph.pack(graph.source)


def _conv(size=3, depth=24, channels=40, seed=0, **options):
    net = int8_networks.Network(seed)
    return net.bytes(net.conv(net.input(11, 9, depth), channels, size, **options))


def _dense(depth=700, channels=33, **options):
    net = int8_networks.Network(5)
    return net.bytes(net.dense(net.input(depth), channels, **options))


@pytest.mark.parametrize(
    "data",
    [
        _conv(1),
        _conv(3),
        _conv(5, stride=2),
        _conv(3, dilation=2, same=False, relu=False),
        _edited(_conv(3), activation=RELU6),
        _edited(_conv(1), activation=RELU_N1_TO_1),
        _edited(_conv(3), zero=-128),
        _edited(_conv(3), zero=127),
        _dense(),
        _dense(relu=True),
        _edited(_dense(), zero=-77, activation=RELU6),
    ],
)
def test_input_channels_are_exact(data):
    network = Network(flatgraph.read(data))
    differing, values = _differing(data, _added(network))
    assert differing == 0
    assert values > 4


@pytest.mark.parametrize("groups", [((0, 2), (1, 3)), ((0, 1, 2), (3, 4, 5)), ((0, 1),)])
def test_rows_in_groups_with_input_channels_within_each_are_exact(groups):
    data, count = _conv(3), 1 + max(map(max, groups))
    placed = _added(Network(flatgraph.read(data)), groups=groups, count=count)
    assert _differing(data, placed)[0] == 0


def test_ties_are_rounded_as_the_runtime_does():
    """Every other sum lies halfway between two steps."""
    data = _edited(_conv(1, relu=False), scales=(1.0, 0.5, 1.0), bias=np.zeros(40, np.int32), zero=0)
    data = _edited(data, weights=np.random.default_rng(1).integers(-1, 2, (40, 1, 1, 24), dtype=np.int8))
    network = Network(flatgraph.read(data))
    quiet = [np.random.default_rng(2).integers(-30, 30, (1, 11, 9, 24), dtype=np.int8)]
    differing, values = _differing(data, _added(network), given=quiet)
    assert differing == 0
    assert values > 100


def test_sums_beyond_what_float32_has_exactly_are_taken_in_several_goes():
    depth = 700
    largest = np.full((40, 3, 3, depth), 127, np.int8)
    largest[:, 1, 1, ::3] = -126  # else all sums are alike
    data = _edited(_conv(3, depth, relu=False), weights=largest, zero=-128, scales=(1.0, 1.0, 3e6))
    network = Network(flatgraph.read(data))
    (operator,) = network.graph.operators
    goes = list(sum_models.goes(network.graph, operator, (0, 40), (0, depth), -128))
    assert len(goes) > 9
    assert all(255 * 127 * 9 * (stop - start) <= 2**24 for start, stop in goes)
    full = [np.full((1, 11, 9, depth), 127, np.int8)]
    assert _differing(data, _added(network), given=full)[0] == 0
    assert _differing(data, _added(network))[0] == 0


def test_sums_that_are_missing_are_named_and_none_counts_twice():
    data = _conv()
    network = Network(flatgraph.read(data))
    (stage,) = _added(network).stages
    lacking = Placement(3, (Stage(0, 1, stage.makes, (None, *stage.adds[1:])),))
    with pytest.raises(errors.SettingsError, match="the parts of CONV_2D 0 do not add up"):
        placement.schedule(network, lacking)
    twice = Placement(3, (Stage(0, 1, stage.makes, (network.wholes[0], *stage.adds[1:])),))
    assert _differing(data, twice)[0] == 0


def test_groups_whose_rows_are_all_needed_by_each_other_are_exact():
    net = int8_networks.Network(0)
    data = net.bytes(net.conv(net.input(4, 5, 12), 16, 7))
    placed = _added(Network(flatgraph.read(data)), groups=((0, 2), (1, 3)), count=4)
    assert _differing(data, placed)[0] == 0


def test_what_cannot_be_added_up_is_named():
    net = int8_networks.Network()
    network = Network(flatgraph.read(net.bytes(net.depthwise(net.input(9, 9, 6)))))
    assert not partial_sums.can_add(network, network.graph.operators[0])
    stage = Stage(0, 1, ({1: network.wholes[1]},), (network.wholes[0],))
    with pytest.raises(errors.SettingsError, match="adds up what cannot be: DEPTHWISE_CONV_2D"):
        placement.schedule(network, Placement(1, (stage,)))


def test_sums_count_four_bytes_each():
    network = Network(flatgraph.read(_conv(1)))
    scheduled = placement.schedule(network, _added(network))
    (step,) = scheduled.steps
    elements = 11 * 9 * 40
    assert sum(move.bytes for move in step.sums) == 2 * 4 * elements
    assert sum(piece.macs for piece in step.pieces) == elements * 24


@pytest.mark.parametrize("kernels", [Kernels.SERVING, Kernels.BUILTIN])
def test_means_by_sums_are_exact_with_either_kernels(kernels):
    net = int8_networks.Network(7)
    data = net.bytes(net.mean(net.input(7, 5, 96)))
    network = Network(flatgraph.read(data))
    (operator,) = network.graph.operators
    (target,) = operator.outputs
    makes = network.wholes[target]
    parts = [boxes.replaced(network.wholes[0], 1, rows) for rows in ((0, 3), (3, 4), (4, 7))]
    with Interpreter(data, kernels=kernels) as whole:
        for sample in verify.random_samples(whole.inputs, 4):
            total = np.zeros(boxes.shape(makes), np.int32)
            for part in parts:
                model = sum_models.adding(network.graph, operator, part, makes)
                with Interpreter(model, kernels=kernels) as adder:
                    total += adder.run(np.ascontiguousarray(sample[0][boxes.slices(part)]))[0]
            with Interpreter(sum_models.finishing(network.graph, operator, makes, makes), kernels=kernels) as finisher:
                assert np.array_equal(finisher.run(total)[0], whole.run(*sample)[0])
