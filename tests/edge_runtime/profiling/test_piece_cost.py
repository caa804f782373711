"""What a piece costs besides its operators, by an invented clock that counts what was run."""

import dataclasses

import int8_networks
import numpy as np
import pytest
import tiny_models

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import piece_cost, profiler
from tflsplit import errors
from tflsplit.graph import flatgraph, interpreter
from tflsplit.placement import machines, measured
from tflsplit.placement.rewriting.network import Network
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Side


def _chain() -> bytes:
    net = int8_networks.Network(4)
    x = net.input(8, 8, 4)
    for _ in range(5):
        x = net.conv(x, 4)
    return net.bytes(x)


@pytest.fixture
def calls(monkeypatch):
    """One entry for each run of an interpreter."""
    made, run = [], interpreter.Interpreter.run

    def counted(self, *arrays):
        made.append(self)
        return run(self, *arrays)

    monkeypatch.setattr(interpreter.Interpreter, "run", counted)
    return made


def test_it_is_what_one_more_call_takes(calls):
    network = Network(flatgraph.read(_chain()))
    inputs = (np.zeros((1, 8, 8, 4), np.int8),)
    # By this clock every call takes a millisecond, and operators take nothing.
    found = piece_cost.time_pieces(network, inputs, threads=1, clock=lambda: len(calls) / 1000)
    assert found.p50_s == pytest.approx(0.001)
    assert len(set(calls)) == 1 + 5


def test_a_model_of_one_operator_has_no_pieces():
    net = int8_networks.Network(4)
    network = Network(flatgraph.read(net.bytes(net.conv(net.input(8, 8, 4), 4))))
    assert piece_cost.time_pieces(network, (np.zeros((1, 8, 8, 4), np.int8),), threads=1, clock=float) is None


def test_a_profile_brings_it_to_the_machine(tmp_path):
    package = tiny_models.write_package(tmp_path / "net.tflsplit", _chain(), labels=())
    made = profiler.profile(profiler.Task(package, Side.EDGE, Cpu()), tmp_path / "journal", profiler.Settings(0.1))
    assert made.piece.p50_s >= 0
    path, file = tmp_path / "pi.json", tmp_path / "machines.toml"
    path.write_text(profiles.render(dataclasses.replace(made, piece=profiles.Timing((0.0002,)))))
    file.write_text(
        '[[machine]]\nname = "pi"\nprofile = "pi.json"\n'
        '[[machine]]\nname = "stated"\nprofile = "pi.json"\noverhead = "3ms"\n'
        '[[machine]]\nname = "unknown"\nspeed = 1e9\n'
    )
    found = machines.read(file, lambda given: measured.read(given, package)).machines
    assert [machine.piece_s for machine in found] == [0.0002, 0.003, None]
    assert found[2].overhead_s == machines.ASSUMED_PIECE_S

    path.write_text(path.read_text().replace('"piece": {', '"piece": {"samples_s": "x", '))
    with pytest.raises(errors.DataError, match=r"pi\.json"):
        profiles.read(path)
