"""A stream of frames from an emulated edge to a broker and a cloud outside."""

import contextlib

import arm_edge
import chaos
import numpy as np
import pytest
import stock_mosquitto

from broker.local import server

pytestmark = [
    pytest.mark.arm,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(arm_edge.RECORDED), reason="the cloud would be on the edge's machine"),
]
FRAMES = 100
PATIENCE_S = 1200.0  # for all of them, at a speed tens of times lower than here


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a76"])
def test_every_frame_of_an_emulated_edge_is_answered_as_the_whole_model_here_does(
    machine, recorded, *, bring, report, tmp_path, cpu
):
    if server.mosquitto_path() is None:
        pytest.skip("needs Mosquitto; `make system` installs it")
    package = recorded("digits").package
    with contextlib.ExitStack() as stack:
        broker = stock_mosquitto.Mosquitto(tmp_path)
        stack.callback(broker.end)
        deployment = chaos.Deployment(stack, tmp_path, package, broker.url)
        deployment.cloud()
        reader = deployment.reader()
        np.save(machine.exchange / "inputs.npy", deployment.inputs)

        words = ("edge", bring(package), "--broker", broker.url, "--deployment", deployment.name, "--device", "pi")
        source = ("--source", machine.place(machine.exchange / "inputs.npy"), "--count", FRAMES, "--cut", "op010")
        edge = deployment.begin(chaos.Process(*words, *source, "--json", command=machine.command("tflsplit", cpu=cpu)))
        summary = edge.done(patience_s=PATIENCE_S)
        reader.wait_for_results(FRAMES)
        deployment.check(reader)
    report.streams[cpu] = summary
