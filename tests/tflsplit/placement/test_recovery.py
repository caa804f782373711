"""Whichever machine is lost, what is left of a placement gives what the whole gives."""

import int8_networks
import mixed_placements
import numpy as np
import pytest

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement import placement, recovery, running
from tflsplit.placement.machines import Machine
from tflsplit.placement.rewriting.network import Network


@pytest.mark.parametrize("model", [int8_networks.everything, int8_networks.pyramid])
@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("longest", [1, 6])
def test_without_any_one_or_two_machines_it_is_exact(model, count, longest):
    network, random = Network(flatgraph.read(model())), np.random.default_rng(count * longest)
    machines = [Machine(f"m{each}", 1e9) for each in range(count)]
    placed = mixed_placements.mixed(network, machines, random, longest)
    pairs = [{each} for each in range(1, count)] + [{1, count - 1}]
    with Interpreter(model()) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        wanted = whole.run(*sample)
    for lost in pairs:
        left = recovery.without(network, placed, lost)
        placement.check(network, left)
        assert not recovery.used(left) & lost
        found = running.run(network, left, placement.schedule(network, left), sample)
        for expected, part in zip(wanted, found, strict=True):
            assert np.array_equal(expected, part)


def test_the_machine_with_the_inputs_cannot_be_done_without():
    network = Network(flatgraph.read(int8_networks.pyramid()))
    placed = placement.Placement(2, (placement.whole_stage(network, 0, network.count, 1, 2),))
    with pytest.raises(errors.SettingsError, match="the machine with the inputs is lost"):
        recovery.without(network, placed, {0})
    assert recovery.used(recovery.without(network, placed, {1})) == {0}
