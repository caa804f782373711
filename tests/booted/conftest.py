"""A booted machine with a broker and an edge as the documents install them, and a cloud beside it."""

import contextlib
import os
import pathlib
import re
import shutil

import booted
import chaos
import numpy as np
import ports
import pytest
import tiny_models
from waiting import wait_for

EDGE, BROKER = "tflsplit-edge.service", "tflsplit-broker.service"
PATIENCE_S = 180.0  # a watchdog bites after 30 s, on a machine that has other things to do
BROUGHT = "/root/brought"

CONFIG = """\
[edge]
package = "/srv/tflsplit/edge.tflsplit"
deployment = "plant1"
device = "cam1"
credentials = "credentials"
source = "/srv/tflsplit/inputs.npy"
count = 100000000
cut = "op000"
rate = {rate}
spool = "/var/lib/tflsplit-edge/spool"
"""


class Plant:
    """The machine, and what was brought to it; `steps` are the commands of docs/service.md not yet typed."""

    def __init__(self, machine, brought):
        self.machine = machine
        self.credentials = machine.root / "etc/tflsplit/broker/clients"
        self._steps = booted.documented("service.md", "On a Raspberry Pi")
        shutil.copytree(brought, machine.root / BROUGHT.lstrip("/"))
        booted.let_commands_be_typed(machine.root)

    def type_until(self, last):
        """Types the commands of the document as far as the one that contains `last`."""
        while self._steps:
            step = self._steps.pop(0)
            self.type(step)
            if last in step:
                return
        raise AssertionError(f"docs/service.md has no command with {last!r}")

    def type(self, line):
        index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": BROUGHT, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return self.machine.run("bash", "-ec", line, cwd=BROUGHT, **index)


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    return tiny_models.write_package(tmp_path_factory.mktemp("model") / "edge.tflsplit", tiny_models.residual_model())


@pytest.fixture(scope="session")
def brought(package, tmp_path_factory):
    """What is carried to the machine: wheels, the package and pictures."""
    folder = tmp_path_factory.mktemp("brought")
    wheel = booted.wheels(folder, "0.1.0")
    try:
        booted.dependencies(wheel, folder)
    except booted.UnavailableError as reason:
        pytest.skip(str(reason))
    shutil.copytree(package.path, folder / "edge.tflsplit")
    np.save(folder / "inputs.npy", np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8))
    return folder


@pytest.fixture(scope="session")
def plant(tmp_path_factory, brought):
    """Broker and edge, installed and not yet started."""
    with contextlib.ExitStack() as stack:
        try:
            machine = stack.enter_context(booted.Machine(tmp_path_factory.mktemp("machine")))
        except booted.UnavailableError as reason:
            pytest.skip(str(reason))
        plant = Plant(machine, brought)
        plant.type_until("ln -s")
        plant.type('/opt/tflsplit/venv/bin/pip install --quiet "$(ls tflsplit-*.whl)[broker]"')
        plant.type(
            "tflsplit broker init /etc/tflsplit/broker --deployment plant1 --device cam1 --host localhost"
            f" --port {ports.free_port()}"
        )
        # As the head of the unit says it.
        plant.type(f"ln -s /etc/tflsplit/broker/{BROKER} /etc/systemd/system/ && systemctl enable --now {BROKER}")
        plant.type("cp -r /etc/tflsplit/broker/clients/cam1 .")
        plant.type_until("chmod -R go=")
        plant.type("cp inputs.npy /srv/tflsplit/ && chmod -R a+rX /srv/tflsplit")
        machine.write("etc/tflsplit/edge.toml", CONFIG.format(rate=20))
        plant.type_until("systemctl status")
        yield plant


class Edge:
    """The edge's service."""

    def __init__(self, machine):
        self.machine = machine

    def configure(self, rate):
        self.machine.write("etc/tflsplit/edge.toml", CONFIG.format(rate=rate))

    def systemctl(self, verb):
        return self.machine.run("systemctl", verb, EDGE)

    def shown(self, setting):
        return self.machine.shown(EDGE, setting)

    @property
    def results(self):
        """How many its present process has got."""
        found = re.search(r"(\d+) results", self.shown("StatusText"))
        return int(found[1]) if found else 0

    def wait_for(self, holds):
        try:
            wait_for(holds, PATIENCE_S)
        except AssertionError:
            told = self.machine.run("systemctl", "status", "--no-pager", "--lines=30", EDGE, BROKER, check=False)
            raise AssertionError(told) from None

    def wait_for_status(self, words):
        self.wait_for(lambda: re.search(words, self.shown("StatusText")))

    def wait_to_say(self, words):
        """In the journal."""
        self.wait_for(lambda: re.search(words, self.journal()))

    def wait_for_more_results(self):
        """Some that are not there yet."""
        before = self.results
        self.wait_for(lambda: self.results > before)

    def wait_for_restart(self, process, restarts):
        """Until systemd has started it anew after `process`."""
        self.wait_for(lambda: self.shown("MainPID") not in {"0", process})
        assert int(self.shown("NRestarts")) > restarts

    def process_and_restarts(self):
        return self.shown("MainPID"), int(self.shown("NRestarts"))

    def kill(self, signal):
        os.kill(self._pid_here(), signal)

    def journal(self):
        return self.machine.journal(EDGE)

    def _pid_here(self):
        """Its number as it is seen from here."""
        inside = self.shown("MainPID")
        for status in pathlib.Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text()
                numbers = re.search(r"^NSpid:\s+(.*)$", text, re.MULTILINE)[1].split()
                if len(numbers) > 1 and numbers[-1] == inside and "Name:\ttflsplit" in text:
                    return int(numbers[0])
        raise AssertionError(f"no process {inside} of the machine")


@pytest.fixture
def cloud(plant, package):
    """Answers what the edge sends; runs beside the machine, as on another."""
    with contextlib.ExitStack() as stack:
        words = ("cloud", package.path, "--credentials", plant.credentials / "cloud", "--deployment", "plant1")
        process = chaos.Process(*words)
        stack.callback(process.kill)
        process.wait_until_online()
        yield process


@pytest.fixture
def edge(plant, cloud):
    """The service as it was installed, serving; whatever a test did to it is undone by the next."""
    machine = plant.machine
    service = Edge(machine)
    service.configure(20)
    machine.run("tflsplit", "install-service", "--config", "/etc/tflsplit/edge.toml")
    machine.run("systemctl", "reset-failed")
    machine.run("systemctl", "restart", BROKER, EDGE)
    service.wait_for_status(r"connected, .* [1-9]\d* results")
    return service
