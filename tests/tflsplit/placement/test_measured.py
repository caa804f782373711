"""A machine's speed out of a profile: the whole's time is kept, and operators that are alike take alike."""

import dataclasses

import int8_networks
import invented
import pytest
import tiny_models
from command_line import run

from tflsplit import errors
from tflsplit.placement import cost, machines, measured, placement
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import layouts, runs
from tflsplit.timings import profiles


def _twins() -> bytes:
    net = int8_networks.Network(4)
    x = net.input(16, 16, 8)
    for _ in range(4):
        x = net.conv(x, 8)
    return net.bytes(x)


@pytest.fixture
def package(tmp_path):
    return tiny_models.write_package(tmp_path / "net.tflsplit", _twins(), labels=())


def _of(package, profile):
    return measured.of(dataclasses.replace(profile, package=package.digest), package, name="it")


def test_times_of_operators_add_up_to_the_whole_and_are_even_for_twins(package):
    found = _of(package, invented.edge(package.cuts, (0.0, 1.0, 5.0, 4.0, 8.0)))
    assert sum(found.operator_s) == pytest.approx((1 + 4 + 0 + 4) / 1000)
    assert len(set(found.operator_s)) == 1
    assert found.macs_per_s == pytest.approx(package.cuts[-1].head.macs / sum(found.operator_s))


def test_tails_tell_the_same_as_heads(package):
    heads, tails = invented.edge(package.cuts, (0, 1, 2, 5, 9)), invented.cloud(package.cuts, (9, 8, 7, 4, 0))
    assert _of(package, heads).operator_s == pytest.approx(_of(package, tails).operator_s)


def test_a_part_takes_its_share_of_what_was_measured(package):
    network = Network(package.graph)
    timed = _of(package, invented.edge(package.cuts, (0, 2, 4, 6, 8)))
    pair = tuple(Machine(name, timed.macs_per_s, 0.0, operator_s=timed.operator_s) for name in ("a", "b"))
    parts = layouts.Layout(((0,), (1,)))
    makes = tuple({7: box} for box in parts.parts(network.shapes[network.graph.outputs[0]], pair))
    (output,) = network.graph.outputs
    makes = tuple({output: box} for made in makes for box in made.values())
    whole = placement.whole_stage(network, 0, 3, 0, 2)
    halves = placement.Stage(3, 4, makes)
    scheduled = placement.schedule(network, placement.Placement(2, (whole, halves)))
    found = cost.of(scheduled, Cluster(pair, Medium(1e15)))
    assert found.latency_s == pytest.approx(0.006 + 0.001, rel=1e-3)


def test_runs_that_are_taken_for_alike_take_alike(package):
    network, timed = Network(package.graph), _of(package, invented.edge(package.cuts, (0, 1, 4, 6, 8)))
    alike = [place for place in range(1, 3) if runs.likeness(network, place, place + 1)]
    assert len({timed.operator_s[place] for place in alike}) == 1


def test_the_file_of_machines_names_profiles(package, tmp_path):
    profile = dataclasses.replace(invented.edge(package.cuts, (0, 10, 20, 30, 40)), package=package.digest)
    (tmp_path / "pi.json").write_text(profiles.render(profile))
    listed = "\n".join(f'[[machine]]\nname = "{name}"\nprofile = "pi.json"' for name in ("one", "two"))
    (tmp_path / "m.toml").write_text(f'bandwidth = "1Gbit"\n{listed}\n')
    found = machines.read(tmp_path / "m.toml", lambda path: measured.read(path, package))
    assert found.machines[1].operator_s == pytest.approx((0.01,) * 4)
    code, said, complaint = run("distribute", package.path, "--machines", tmp_path / "m.toml")
    assert (code, said.startswith("2 machines, 1.")) == (0, True), complaint
    both = (tmp_path / "m.toml").read_text().replace('name = "one"', 'name = "one"\nspeed = 3')
    (tmp_path / "m.toml").write_text(both)
    complaint = run("distribute", package.path, "--machines", tmp_path / "m.toml")[2]
    assert "machine 1: name and speed are needed, or name and profile" in complaint


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"package": "e" * 64}, "measured for package eeee"),
        ({"accelerator": "edgetpu"}, "measured on edgetpu, and shared models run on the CPU"),
        ({"cuts": ()}, "does not time the whole model"),
        (None, "cannot be read"),
    ],
)
def test_profiles_that_tell_no_speed_are_refused(package, tmp_path, changed, told):
    if changed is not None:
        made = dataclasses.replace(invented.edge(package.cuts, (0, 1, 2, 3, 4)), package=package.digest)
        (tmp_path / "pi.json").write_text(profiles.render(dataclasses.replace(made, **changed)))
    (tmp_path / "m.toml").write_text('[[machine]]\nname = "one"\nprofile = "pi.json"\n')
    with pytest.raises(errors.DataError, match=told):
        machines.read(tmp_path / "m.toml", lambda path: measured.read(path, package))
