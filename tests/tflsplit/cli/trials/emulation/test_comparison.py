"""Emulated machines: real workers in namespaces. What is counted has to be right; how long it took does not matter."""

import json
import signal
import socket
import subprocess
import sys

import int8_networks
import pytest
import real_link
import shared_models
import waiting

from broker.messages import results
from tflsplit import errors
from tflsplit.cli.trials.emulation import comparison, stage
from tflsplit.cli.trials.sharing.whole import Whole
from tflsplit.graph.tensors import TensorSpec
from tflsplit.placement.machines import Cluster, Machine, Medium


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return shared_models.write(tmp_path_factory.mktemp("shared"), 2, model=int8_networks.pyramid, speed=1e6)


@pytest.fixture
def _with_namespaces():
    real_link.skip_where_impossible()


def command(shared, *options):
    return [sys.executable, "-m", "tflsplit.cli.main", "emulate", str(shared.path), *options]


@pytest.mark.usefixtures("_with_namespaces")
@pytest.mark.parametrize("over", ["zenoh", "mqtt"])
def test_results_are_the_whole_model_s_and_counted_bytes_are_the_workers(shared, over):
    if over == "zenoh":
        pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed; the extra zenoh brings it")
    options = ("--frames", "3", "--alone", "--json", "--over", over)
    done = subprocess.run(command(shared, *options), check=True, capture_output=True)
    found = json.loads(done.stdout)
    assert found["wrong"] == 0
    (row,) = found["placements"].values()
    assert row["results"] == 4
    assert row["bytes_exchanged"] == shared.plan.expected["bytes_exchanged"]
    assert min(row["process_memory_per_machine"].values()) > row["memory_per_machine"]["m1"]
    assert row["latency_ms"]["emulated"] > max(row["macs_per_machine"].values()) / 1e6 * 1e3
    assert {*found} >= {"answer", "cluster", "window", "over_one_machine", "over_output_channels", "gains"}
    named = [name.split(".")[0] for names in found["origins"].values() for name in names]
    assert set(named) <= {*found, *row}


@pytest.mark.usefixtures("_with_namespaces")
@pytest.mark.parametrize("signalled", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_an_emulation_that_is_ended(shared, signalled):
    def links():
        return {name for _, name in socket.if_nameindex() if name.startswith("tfs")}

    before = links()
    started = subprocess.Popen(
        command(shared, "--frames", "10000", "--over", "mqtt"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with started as emulation:
        try:
            waiting.wait_for(lambda: links() - before)
            ours = links() - before
        finally:
            emulation.send_signal(signalled)
    waiting.wait_for(lambda: not ours & links())


def test_without_root_it_says_so_in_a_line(shared, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(errors.DeviceError, match="needs root"):
        comparison.run(shared.path)


def test_a_pace_or_a_delay_that_cannot_be_emulated_is_refused(shared):
    with pytest.raises(errors.SettingsError, match="give multiply-accumulates a second"):
        comparison.run(shared.path, pace="quick")
    late = Cluster((Machine("m1", 1e9),), Medium(1e8, delay_s=0.01))
    with pytest.raises(errors.SettingsError, match="delay of 10 ms"), stage.joined(late):
        pass


def test_answers_that_are_not_the_whole_model_s_are_counted(tmp_path):
    spec = TensorSpec("out", (1, 2), "int8", 1.0, 0)
    times = results.Times(*[0.0] * len(results.Times.__slots__))
    answers = [
        results.Result("m1", 1, frame, "shared", "", times, outputs=(results.Output(spec, given),))
        for frame, given in enumerate((b"ab", b"cd", b"ab", b"ce"))
    ]
    assert Whole(tmp_path, [[b"ab"], [b"cd"]]).wrong(answers) == 1
