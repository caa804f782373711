"""What the devices of a fleet send and expect: heads' outputs of real pictures with the whole model's answers, and what
a real edge says of itself, recorded from one.

The model is the one of `tflsplit demo`: it reads digits, so that answers differ from input to input. Its second version
has other labels and was calibrated on half of the pictures: no answer of one passes for one of the other.
"""

import io
import json
import subprocess
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import harness
import numpy as np

from broker.messages import topics
from broker.messages.topics import Kind
from broker.mqtt.transport import MqttTransport
from broker.transport import credentials
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.inputs import preprocessing
from tflsplit.package import outputs, reading
from tflsplit.package.reading import Package

INPUTS = 64
VERSIONS = (1, 2)
# An edge starts, connects and tells of itself in two seconds, where nobody else needs the machine.
_PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Material:
    """`boundaries` are what the head makes of each input, `truths` label and score of the whole model for it, and how
    results name the package; `birth` and `telemetry` are a real edge's."""

    digest: str
    cut: Cut
    boundaries: tuple[tuple[Array, ...], ...]
    truths: tuple[tuple[str, float, str], ...]
    birth: dict[str, Any]
    telemetry: dict[str, Any]


def package(folder: Path, version: int = 1) -> Package:
    path = folder / f"digits-{version}.tflsplit"
    if not path.exists():
        model, calibration, labels = folder / "digits.h5", folder / "calibration.npy", folder / "labels.txt"
        model.write_bytes((resources.files("tflsplit") / "demo" / "digits.h5").read_bytes())
        np.save(calibration, _pictures("calibration")[::version])
        np.save(folder / "test.npy", _pictures("test_images"))
        labels.write_text("\n".join(f"v{version}-{digit}" for digit in range(10)))
        command = [harness.TFLSPLIT, "convert", str(model), "-o", str(path), "--calibration", str(calibration)]
        command += ["--preprocess", "unit", "--labels", str(labels)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return reading.open_package(path)


def of(opened: Package, birth: dict[str, Any], telemetry: dict[str, Any]) -> Material:
    """At the cut that an edge takes where it is told none."""
    described = opened.manifest
    assert described.preprocessing is not None
    cut = opened.default_cut()
    table = preprocessing.PixelTable(described.preprocessing, described.inputs[0])
    boundaries, truths = [], []
    with Interpreter(opened.model_bytes()) as whole, Interpreter(opened.head_bytes(cut)) as head:
        for picture in _pictures("test_images")[:INPUTS]:
            arrays = table.apply(picture)[None]
            boundaries.append(tuple(np.array(array) for array in head.run(arrays)))
            answer = outputs.read(described.outputs, whole.run(arrays), described.labels, described.meanings)
            assert answer.label is not None
            assert answer.score is not None
            truths.append((answer.label, answer.score, opened.digest))
    return Material(opened.digest, cut, tuple(boundaries), tuple(truths), birth, telemetry)


def recorded(opened: Package, device: Path, consumer: Path, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Birth and telemetry of an edge that sends a few frames; `device` and `consumer` are folders of credentials. A
    cloud has to be there."""
    who, reader = credentials.open_bundle(device), credentials.open_bundle(consumer)
    heard: dict[Kind, dict[str, Any]] = {}
    with MqttTransport(reader.address, client_id="bench-recorder", credentials=reader.credentials) as listening:
        listening.connect(timeout_s=_PATIENCE_S)
        for kind in (Kind.BIRTH, Kind.TELEMETRY):
            listening.subscribe(topics.topic(who.deployment, who.name, kind))
        edge = [harness.TFLSPLIT, "edge", str(opened.path), "--credentials", str(device)]
        edge += ["--source", str(folder / "test.npy"), "--count", "16", "--telemetry", "1s", "--no-print"]
        ended = subprocess.run(edge, check=False, capture_output=True, text=True, timeout=_PATIENCE_S)
        if ended.returncode:
            raise SystemExit(f"{' '.join(edge)}: {ended.stderr[-2000:]}")
        give_up_s = time.monotonic() + _PATIENCE_S
        while heard.get(Kind.BIRTH, {}).get("package") != opened.digest or not _has_frames(heard.get(Kind.TELEMETRY)):
            message = listening.receive(max(0.0, give_up_s - time.monotonic()))
            if message is None:
                kinds = sorted(kind.value for kind in heard) or "nothing"
                raise SystemExit(f"an edge told {kinds} of itself in {_PATIENCE_S:g} s: {ended.stderr[-2000:]}")
            heard[topics.parse(message.topic).kind] = json.loads(bytes(message.payload))
            listening.acknowledge(message)
    return heard[Kind.BIRTH], heard[Kind.TELEMETRY]


def _has_frames(telemetry: dict[str, Any] | None) -> bool:
    return telemetry is not None and telemetry["metrics"]["frames_total"] > 0


def input_of(device: int, sequence: int, inputs: int) -> int:
    """Which input a frame holds: not the same for all devices at a time."""
    return (device + sequence) % inputs


def _pictures(which: str) -> Array:
    shipped = resources.files("tflsplit") / "demo" / "digits.npz"
    with np.load(io.BytesIO(shipped.read_bytes()), allow_pickle=False) as arrays:
        found: Array = arrays[which]
    return found
