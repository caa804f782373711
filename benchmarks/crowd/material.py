"""What the devices of a fleet send and expect: heads' outputs of real pictures with the whole model's answers, and what
a real edge says of itself, recorded from one.

The model is the one of `tflsplit demo`: it reads digits, so that answers differ from input to input.
"""

import io
import json
import subprocess
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

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
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Material:
    """`boundaries` are what the head makes of each input, `truths` label and score of the whole model for it; `birth`
    and `telemetry` are a real edge's."""

    digest: str
    cut: Cut
    boundaries: tuple[tuple[Array, ...], ...]
    truths: tuple[tuple[str, float], ...]
    birth: bytes
    telemetry: bytes


def package(folder: Path) -> Package:
    path = folder / "digits.tflsplit"
    if not path.exists():
        model, calibration = folder / "digits.h5", folder / "calibration.npy"
        model.write_bytes((resources.files("tflsplit") / "demo" / "digits.h5").read_bytes())
        np.save(calibration, _pictures("calibration"))
        np.save(folder / "test.npy", _pictures("test_images"))
        command = [harness.TFLSPLIT, "convert", str(model), "-o", str(path), "--calibration", str(calibration)]
        command += ["--preprocess", "unit"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return reading.open_package(path)


def of(opened: Package, birth: bytes, telemetry: bytes) -> Material:
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
            truths.append((answer.label, answer.score))
    return Material(opened.digest, cut, tuple(boundaries), tuple(truths), birth, telemetry)


def recorded(opened: Package, device: Path, consumer: Path, folder: Path) -> tuple[bytes, bytes]:
    """Birth and telemetry of an edge that sends a few frames; `device` and `consumer` are folders of credentials. A
    cloud has to be there."""
    who, reader = credentials.open_bundle(device), credentials.open_bundle(consumer)
    heard: dict[Kind, bytes] = {}
    with MqttTransport(reader.address, client_id="bench-recorder", credentials=reader.credentials) as listening:
        listening.connect(timeout_s=_PATIENCE_S)
        for kind in (Kind.BIRTH, Kind.TELEMETRY):
            listening.subscribe(topics.topic(who.deployment, who.name, kind))
        edge = [harness.TFLSPLIT, "edge", str(opened.path), "--credentials", str(device)]
        edge += ["--source", str(folder / "test.npy"), "--count", "16", "--telemetry", "1s", "--no-print"]
        subprocess.run(edge, check=True, capture_output=True, timeout=2 * _PATIENCE_S)
        give_up_s = time.monotonic() + _PATIENCE_S
        while len(heard) < 2 or not json.loads(heard[Kind.TELEMETRY])["metrics"]["frames_total"]:
            message = listening.receive(give_up_s - time.monotonic())
            if message is None:
                raise SystemExit(f"an edge told {sorted(heard)} of itself in {_PATIENCE_S:g} s")
            heard[topics.parse(message.topic).kind] = bytes(message.payload)
            listening.acknowledge(message)
    return heard[Kind.BIRTH], heard[Kind.TELEMETRY]


def input_of(device: int, sequence: int, inputs: int) -> int:
    """Which input a frame holds: not the same for all devices at a time."""
    return (device + sequence) % inputs


def _pictures(which: str) -> Array:
    shipped = resources.files("tflsplit") / "demo" / "digits.npz"
    with np.load(io.BytesIO(shipped.read_bytes()), allow_pickle=False) as arrays:
        found: Array = arrays[which]
    return found
