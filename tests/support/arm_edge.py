"""An edge on 64-bit Arm, installed as docs/service.md says: in an emulated root, or this machine.

TFLSPLIT_ARM_RECORDED names the folder that `zoo.py` wrote on another machine: then this one, as it is, is the edge.
"""

import contextlib
import os
import pathlib
import subprocess
import time

import arm_root
import booted

RECORDED = os.environ.get("TFLSPLIT_ARM_RECORDED")
# A report of the whole run is written there.
REPORT = os.environ.get("TFLSPLIT_ARM_REPORT")
CPUS = ("this machine",) if RECORDED else tuple(arm_root.CPUS)

# Both ends of what is supported, and the runtime that stands in for it; named as in tflsplit/kernels/known.json.
RUNTIMES = {
    "LiteRT 1.4.0": ("ai-edge-litert==1.4.0", "numpy"),
    "LiteRT 2.3.0": ("ai-edge-litert==2.3.0", "numpy"),
    "tflite-runtime 2.14.0": ("tflite-runtime==2.14.0", "numpy<2"),
}
BESIDE = ("flatbuffers", "packaging")
PROBE = "import json; from tflsplit.kernels import probe; print(json.dumps(probe.measure().as_json()))"


@contextlib.contextmanager
def installed(folder, report):
    """The edge; `report` is told how long it took. UnavailableError where there can be none."""
    began = time.monotonic()
    with InPlace(folder) if RECORDED else arm_root.Root(folder) as edge:
        report.root_s = time.monotonic() - began
        wheel = booted.wheels(edge.exchange, "0.1.0")
        index = {}
        if not RECORDED:
            booted.dependencies(wheel, edge.exchange, "edge", arm_root.PLATFORMS)
            index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/exchange", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        began = time.monotonic()
        for line in booted.documented("service.md", "On a Raspberry Pi"):
            edge.run("bash", "-ec", line, **index)
            if "ln -s" in line:
                break
        report.install_s = time.monotonic() - began
        yield edge


def with_runtime(root, runtime):
    """A Python in an emulated root with that runtime and what our interpreter's door needs beside it."""
    name = runtime.replace(" ", "-")
    folder = root.exchange / name
    booted.download((*RUNTIMES[runtime], *BESIDE), folder, arm_root.PLATFORMS)
    root.run("python3", "-m", "venv", f"/opt/{name}")
    found = ("--quiet", "--no-index", "--find-links", root.place(folder))
    root.run(f"/opt/{name}/bin/pip", "install", *found, *RUNTIMES[runtime], *BESIDE)
    return f"/opt/{name}/bin/python"


class InPlace:
    """This machine as the edge; the commands of the document are typed here."""

    def __init__(self, folder):
        self.exchange = pathlib.Path(folder)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def place(self, path):
        return path

    def run(self, *words, check=True, cpu=None, cwd=None, **environment):
        done = subprocess.run(
            [*map(str, words)],
            cwd=cwd or self.exchange,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout
