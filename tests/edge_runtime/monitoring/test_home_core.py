"""What a real Home Assistant shows of an edge and a cloud that are real processes, whatever dies."""

import contextlib
import os
import signal
import subprocess
import sys

import home_core
import numpy as np
import ports
import pytest
import waiting

from broker.local import server

pytestmark = [
    pytest.mark.skipif(server.mosquitto_path() is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(900),
]

ANSWERS = ("sensor.label", "sensor.score")


class Deployment:
    """An edge and a cloud, which are killed with whatever they are about."""

    def __init__(self, package, folder, url):
        self._inputs = folder / "inputs.npy"
        np.save(self._inputs, np.random.default_rng(0).uniform(-1, 1, (8, 4)).astype(np.float32))
        self._package, self._folder, self._url = package.path, folder, url
        self._running = {}

    def start(self, name, *arguments):
        command = [sys.executable, "-m", "tflsplit", name, self._package, "--broker", self._url, "--deployment", "home"]
        with (self._folder / name).open("ab") as output:
            self._running[name] = subprocess.Popen([*command, *arguments], stdout=output, stderr=output)

    def start_edge(self):
        told = ("--home-assistant", "--telemetry", "1s", "--resend-after", "1s")
        self.start("edge", "--device", "cam1", "--source", self._inputs, "--rate", "20", "--count", "1000000", *told)

    def kill(self, name):
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def close(self):
        for name in list(self._running):
            self.kill(name)


@pytest.fixture
def home(tmp_path):
    port = ports.free_port()
    with home_core.HomeCore(tmp_path / "home", port) as running:
        yield running, port


def test_what_is_shown_is_true_whoever_dies(home, tiny_package, tmp_path):
    core, port = home
    deployment = Deployment(tiny_package, tmp_path, f"mqtt://127.0.0.1:{port}")

    def shown():
        return {name: told["state"] for name, told in core.entities("cam1").items()}

    def is_well():
        found = shown()
        told = [found.get(name, "unknown") for name in ANSWERS]
        standing = [found.get(f"binary_sensor.{name}") for name in ("problem", "connection")]
        return standing == ["off", "on"] and not {"unknown", "unavailable"} & set(told)

    def are_unavailable():
        found = shown()
        return all(found[name] == "unavailable" for name in ANSWERS)

    with contextlib.closing(deployment):
        with server.run(port=port, kind="mosquitto") as broker:
            deployment.start("cloud")
            deployment.start_edge()
            waiting.wait_for(is_well)

            deployment.kill("cloud")
            waiting.wait_for(are_unavailable)
            waiting.wait_for(lambda: shown()["binary_sensor.problem"] == "on")
            assert "does a cloud run?" in core.entities("cam1")["binary_sensor.problem"]["attributes"]["why"]
            assert shown()["binary_sensor.connection"] == "on"
            deployment.start("cloud")
            waiting.wait_for(is_well)

            core.stop()
            core.start()
            waiting.wait_for(is_well)

            os.kill(broker.pid, signal.SIGKILL)
            waiting.wait_for(are_unavailable)
        with server.run(port=port, kind="mosquitto"):  # nothing is retained there
            waiting.wait_for(is_well)

            deployment.kill("edge")
            waiting.wait_for(are_unavailable)
            assert shown()["binary_sensor.connection"] == "off"
            assert shown()["binary_sensor.problem"] == "unavailable"
    assert "template" not in core.warnings()
