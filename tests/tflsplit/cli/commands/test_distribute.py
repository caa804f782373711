"""`tflsplit distribute`, as people and programs read it."""

import json

import int8_networks
import numpy as np
import pytest
import tiny_models

import tflsplit
from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels import exactness
from tflsplit.package import verify
from tflsplit.placement import placement, planfile, running
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.rewriting.network import Network

MACHINES = """
bandwidth = "1Gbit"
[[machine]]
name = "one"
speed = 4e6
[[machine]]
name = "two"
speed = 2e6
"""


@pytest.fixture
def package(tmp_path):
    return tiny_models.write_package(tmp_path / "net.tflsplit", int8_networks.everything(), labels=())


def test_it_answers_first_and_shows_machines_and_schemes(typed, package):
    done = typed("distribute", package.path, "--devices", 3, "--speed", 1e7, "--bandwidth", "1Gbit")
    assert done.code == 0, done.err
    first = done.out.splitlines()[0]
    assert first.startswith("3 machines, ")
    assert "times as fast as the fastest one alone" in first
    for shown in ("m1", "m2", "m3", "this placement", "rows", "output channels", "one machine", "layer wise"):
        assert shown in done.out


def test_one_machine_is_the_answer_where_links_are_slow(typed, package):
    done = typed("distribute", package.path, "--devices", 3, "--bandwidth", "10kbit", "--json")
    found = json.loads(done.out)
    assert found["one_machine_is_faster"] is True
    assert found["used"] == ["m1"]
    assert found["bytes_exchanged"] == 0
    assert found["margin"] > 100
    assert (
        found["reason"]
        == f"one machine, m1, is the best for latency: sharing would take {found['margin']:.2f} times as long"
    )


def test_a_gain_that_is_none_is_not_shared_and_what_does_not_fit_is_marked(typed, package):
    bounded = typed("distribute", package.path, "--devices", 4, "--max-memory", "20k", "--json")
    schemes = json.loads(bounded.out)["schemes"]
    assert schemes["one_machine"]["fits"] is False
    shown = typed("distribute", package.path, "--devices", 4, "--max-memory", "20k").out
    assert "one machine, too large" in shown
    quick = typed("distribute", package.path, "--devices", 2, "--speed", 1e13, "--objective", "throughput", "--json")
    assert json.loads(quick.out)["used"] == ["m1"]


def test_what_is_written_runs_and_is_exact(typed, package, tmp_path):
    (tmp_path / "machines.toml").write_text(MACHINES)
    out = tmp_path / "shared"
    done = typed("distribute", package.path, "--machines", tmp_path / "machines.toml", "-o", out, "--json")
    found = json.loads(done.out)
    assert (found["machines"], found["exact"]) == (["one", "two"], True)
    plan, network = planfile.read(out / "placement.json"), Network(package.graph)
    assert (plan.package_digest, plan.machines) == (package.digest, ("one", "two"))
    placed = plan.placement()
    placement.check(network, placed)
    scheduled = placement.schedule(network, placed)
    assert scheduled.bytes_exchanged == found["bytes_exchanged"]
    assert [step.stage.start for step in scheduled.steps] == [stage["operators"][0] for stage in found["stages"]]
    with Interpreter(package.model_bytes()) as whole:
        (sample,) = verify.random_samples(whole.inputs, 1)
        for expected, part in zip(whole.run(*sample), running.run(network, placed, scheduled, sample), strict=True):
            assert np.array_equal(expected, part)
    for number, step in enumerate(scheduled.steps):
        for machine, piece in zip(plan.machines, step.pieces, strict=True):
            file = out / machine / f"stage{number:02d}.tflite"
            assert file.exists() == (piece is not None)
            if piece is not None:
                with Interpreter(file) as part:
                    assert len(part.outputs) == len(piece.outputs)

    again = typed("distribute", package.path, "--devices", 2, "-o", out)
    assert again.code == 1
    assert "exists already; give another name, or --force to replace it" in again.err
    assert typed("distribute", package.path, "--devices", 2, "-o", out, "--force").code == 0


def test_a_damaged_plan_is_refused(typed, package, tmp_path):
    assert typed("distribute", package.path, "--devices", 2, "-o", tmp_path / "shared").code == 0
    path = tmp_path / "shared" / "placement.json"
    fields = json.loads(path.read_text())
    for key, value in (("sink", 7), ("stages", [{"start": 0}]), ("machines", "m1"), ("kind", "plan")):
        path.write_text(json.dumps(fields | {key: value}))
        with pytest.raises(errors.DataError, match=r"placement\.json"):
            planfile.read(path)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "give --machines FILE or --devices N, one of the two"),
        (("--devices", 2, "--machines", "m.toml"), "give --machines FILE or --devices N, one of the two"),
        (("--machines", "none.toml"), "none.toml: cannot be read"),
        (("--devices", 2, "--max-memory", "1k"), "no placement fits the machines' memory"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(typed, package, given, told):
    done = typed("distribute", package.path, *given)
    assert done.code == 1
    assert told in done.err


def test_a_float_model_that_is_not_exact_in_parts_is_refused_or_right(tmp_path):
    package = tiny_models.write_package(tmp_path / "f.tflsplit", tiny_models.float_twin(), labels=())
    found = tflsplit.distribute(package, devices=2)
    assert found.used == (0,)


def test_what_cannot_be_shared_is_named_and_runs_on_one_machine(typed, tmp_path):
    package = tiny_models.write_package(tmp_path / "r.tflsplit", tiny_models.remembering_model(), labels=())
    done = typed("distribute", package.path, "--devices", 3, "--json")
    found = json.loads(done.out)
    assert "SVDF" in found["unshared"]
    assert found["used"] == ["m1"]


def test_a_stateful_package_is_refused(typed, tmp_path):
    package = tiny_models.write_package(tmp_path / "s.tflsplit", tiny_models.residual_model(), is_stateful=True)
    done = typed("distribute", package.path, "--devices", 2)
    assert done.code == 1
    assert "it is stateful" in done.err


def test_python_gives_what_the_command_prints(package, typed):
    found = tflsplit.distribute(package, devices=2, bandwidth="1Gbit", speed=1e7)
    done = typed("distribute", package.path, "--devices", 2, "--bandwidth", "1Gbit", "--speed", 1e7, "--json")
    assert json.loads(done.out) == json.loads(json.dumps(found.as_json()))


def _two(of_one, of_two):
    medium = Medium(1e9)
    pair = ((0, "one", of_one), (1, "two", of_two))
    return Cluster(tuple(Machine(name, 4e6, kernel_class=exactness.known()[each]) for _, name, each in pair), medium)


def test_machines_whose_kernels_differ_share_only_if_allowed_and_then_it_is_measured(tmp_path):
    package = tiny_models.write_package(tmp_path / "p.tflsplit", int8_networks.pyramid(), labels=())
    mixed = _two("x86-64, LiteRT 2.3.0", "x86-64, tflite-runtime 2.14.0")
    with pytest.raises(
        errors.PackageError, match=r"two \(20dcd064 .*\) computes CONV_2D/int8.* otherwise than one; .*allow_inexact"
    ):
        tflsplit.distribute(package, machines=mixed)
    found = tflsplit.distribute(package, machines=mixed, allow_inexact=True)
    assert found.used == (0, 1)
    assert not any(_adds_channels(stage, package) for stage in found.placement.stages)
    told = found.as_json()
    assert told["exact"] is False
    assert 1 <= told["proof"]["largest_difference"] < 20  # built-in kernels round ties otherwise, and that goes on
    assert 0 < told["proof"]["differing"] <= told["proof"]["compared"]


def test_processors_with_equal_kernels_share_exactly(package):
    found = tflsplit.distribute(package, machines=_two("x86-64, LiteRT 2.3.0", "x86-64, LiteRT 1.4.0"))
    assert (found.used, found.as_json()["exact"]) == ((0, 1), True)


def _adds_channels(stage, package):
    return stage.adds and package.graph.operators[stage.start].name != "MEAN"
