"""Any mix of ways to share a network gives what the whole gives, bit for bit, and moves what it says."""

import int8_networks
import mixed_placements
import numpy as np
import pytest
import tiny_models
import ways_to_share

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement import cost, placement, running
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import layouts, schemes
from tflsplit.placement.searching.layouts import Layout

MODELS = [int8_networks.everything, int8_networks.pyramid]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("longest", [1, 4, 12])
def test_mixed_placements_are_exact(model, count, longest):
    network, random = Network(flatgraph.read(model())), np.random.default_rng(count * longest)
    machines = [Machine(f"m{each}", 1e9 * random.integers(1, 4)) for each in range(count)]
    placed = mixed_placements.mixed(network, machines, random, longest)
    placement.check(network, placed)
    scheduled = placement.schedule(network, placed)
    with Interpreter(model()) as whole:
        for sample in verify.random_samples(whole.inputs, 2):
            found = running.run(network, placed, scheduled, sample)
            for expected, part in zip(whole.run(*sample), found, strict=True):
                assert np.array_equal(expected, part)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_way_to_share_alone_and_chains_are_exact(model, count):
    network = Network(flatgraph.read(model()))
    found = {**schemes.of(network, ways_to_share.cluster(count)), "chain": ways_to_share.chain(network, count)}
    assert {"rows", "output_channels", "input_channels", "layer_wise"} <= set(found)
    assert ways_to_share.differing(model(), found) == []


def test_what_is_needed_and_made_nowhere_is_named():
    network = Network(flatgraph.read(int8_networks.pyramid()))
    (made,) = network.graph.operators[0].outputs
    rows = boxes.replaced(network.wholes[made], 1, (0, 3))
    rest = Stage(1, network.count, ({t: network.wholes[t] for t in network.made_within(1, network.count)}, {}))
    placed = Placement(2, (Stage(0, 1, ({made: rows}, {})), rest))
    with pytest.raises(errors.SettingsError, match=r"machine 0 needs .* of tensor 't1', which no machine makes"):
        placement.schedule(network, placed)


def test_stages_have_to_be_the_whole_network_in_order():
    network = Network(flatgraph.read(int8_networks.pyramid()))
    with pytest.raises(errors.SettingsError, match="does not go on at operator 0"):
        placement.check(network, Placement(1, (Stage(1, 2, ({},)),)))
    with pytest.raises(errors.SettingsError, match="operators from 1 on are in no stage"):
        placement.check(network, Placement(1, (Stage(0, 1, ({},)),)))


def test_costs_are_those_of_the_pieces():
    """Two machines, halves of the rows of one convolution: bytes are the halo's, the picture's and the result's."""
    net = int8_networks.Network()
    x = net.input(8, 6, 4)
    data = net.bytes(net.conv(x, 5, 3))
    network = Network(flatgraph.read(data))
    (made,) = network.graph.operators[0].outputs
    machines = (Machine("a", 1e6, piece_s=0.0), Machine("b", 1e6, piece_s=0.0))
    parts = Layout(((0,), (1,))).parts(network.shapes[made], machines)
    scheduled = placement.schedule(network, Placement(2, (Stage(0, 1, tuple({made: box} for box in parts)),)))
    found = cost.of(scheduled, Cluster(machines, Medium(8e6)))
    picture, result = 5 * 6 * 4, 4 * 6 * 5  # rows 3 to 7 of the input go out, rows 4 to 7 of the result come back
    assert found.bytes_exchanged == picture + result
    assert found.macs == (4 * 6 * 5 * 9 * 4,) * 2
    assert found.parameter_bytes == (5 * 9 * 4 + 5 * 4,) * 2
    assert found.latency_s == pytest.approx((picture + result) / 1e6 + found.macs[0] / 1e6)
    assert found.busy_s == pytest.approx(found.macs[0] / 1e6)


def test_shares_follow_the_weights():
    assert layouts.shares(8, [4, 2, 1, 1]) == [(0, 4), (4, 6), (6, 7), (7, 8)]
    assert layouts.shares(2, [1, 1, 1]) == [(0, 1), (1, 1), (1, 2)]


@pytest.mark.parametrize("model", ["two memories", "an LSTM"])
def test_what_an_operator_keeps_stays_on_its_machine_and_is_sent_to_nobody(model, shared_data):
    if model == "an LSTM":
        data = (shared_data / "models" / "coral_lstm_mnist.tflite").read_bytes()
    else:
        data = tiny_models.remembering_model()
    network = Network(flatgraph.read(data))
    state = {tensor.index for tensor in network.graph.tensors if tensor.is_variable}
    stages = [
        placement.whole_stage(network, place, place + 1, place % 2, 2)
        for place in range(network.count)
        if network.made_within(place, place + 1)
    ]
    placed = Placement(2, tuple(stages), 0, 1)
    scheduled = placement.schedule(network, placed)
    with Interpreter(data) as whole:
        for sample in verify.random_samples(whole.inputs, 3):
            found = running.run(network, placed, scheduled, sample)
            assert [each.tobytes() for each in found] == [each.tobytes() for each in whole.run(*sample)]

    assert state
    assert not state & {move.tensor for move in scheduled.moves}
