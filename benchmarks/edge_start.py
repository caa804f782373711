"""What it takes an edge to be there: time of the processor, time on the clock, and memory.

From just before the process is started to the arrival of its first frame at a subscriber, and its peak memory after 50
frames: `tflsplit edge` with its bundle, as a device gets it, against `bare/edge.py`, a LiteRT and paho script with the
same head and inputs, in turn. The target is for the processor's time, which other work on the machine changes less
than the clock's. A whole package starts later: every file in it is checked against its digest. No process may have
mapped a file of TensorFlow.
"""

import queue
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import harness
import models
from harness import Outcome, Samples
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from broker.messages import topics
from tflsplit import bundle
from tflsplit.package import reading
from tflsplit.package.manifest import Role

START_TARGET, MEMORY_TARGET = 1.5, 1.25
FRAMES = 50
_PATIENCE_S = 30.0
_TOPIC = topics.topic("bench", "edge", topics.Kind.FEATURES)


def run(folder: Path, *, is_quick: bool) -> list[Outcome | harness.Table]:
    whole, cut = models.converted(folder)
    bundled = bundle.write(folder / "edge.tflsplit", whole, Role.EDGE, (cut,), replaces_existing=True)
    head, inputs = bundled.path / str(bundled.file(cut, "head")), models.stored_inputs(folder)
    measured: dict[str, list[_Start]] = {"bare": [], "bundle": [], "whole": []}
    with harness.mosquitto("set_tcp_nodelay true") as broker, _Subscriber(broker.port) as subscriber:
        options = ["--broker", f"mqtt://127.0.0.1:{broker.port}", "--deployment", "bench", "--device", "edge"]
        options += ["--source", str(inputs), "--cut", cut.id]
        options += ["--count", str(FRAMES), "--window", str(FRAMES)]  # nobody answers
        bare = str(Path(__file__).parent / "bare" / "edge.py")
        commands = {
            "bare": [sys.executable, bare, str(head), str(inputs), str(broker.port), _TOPIC, str(FRAMES)],
            "bundle": [harness.TFLSPLIT, "edge", str(bundled.path), *options],
            "whole": [harness.TFLSPLIT, "edge", str(whole.path), *options],
        }
        _start(commands["bundle"], subscriber)  # compiles what an editable install leaves uncompiled
        for _ in range(3 if is_quick else 15):
            for kind, command in commands.items():
                harness.wait_for_calm(patience_s=3.0)
                measured[kind].append(_start(command, subscriber))

    def samples(kind: str, field: str, unit: str) -> Samples:
        return Samples(names[kind], unit, tuple(getattr(start, field) for start in measured[kind]))

    what, mebibytes = "process start to first frame at a subscriber", _mebibytes(whole)
    names = {
        "bare": "LiteRT and paho script",
        "bundle": "tflsplit edge, its bundle",
        "whole": f"tflsplit edge, package of {mebibytes:.0f} MiB",
    }
    found: list[Outcome | harness.Table] = []
    for kind, target in (("bundle", START_TARGET), ("whole", None)):
        pairs = [(samples(kind, field, "s"), samples("bare", field, "s")) for field in ("cpu_s", "wall_s")]
        found.append(Outcome(f"{what}: processor time", *pairs[0], target))
        found.append(Outcome(f"{what}: on the clock", *pairs[1]))
    found.append(
        Outcome(
            f"peak memory of the edge after {FRAMES} frames",
            samples("bundle", "mebibytes", "MiB"),
            samples("bare", "mebibytes", "MiB"),
            MEMORY_TARGET,
            note="None of these processes maps a file of TensorFlow.",
        )
    )
    return found


class _Start(NamedTuple):
    """Until the first frame, and the memory at most until the last one."""

    cpu_s: float
    wall_s: float
    mebibytes: float


def _mebibytes(whole: reading.Package) -> float:
    return sum(file.bytes for file in whole.manifest.files.values()) / 2**20


class _Subscriber:
    """Notes when frames arrive, by the clock that processes are started by."""

    def __init__(self, port: int) -> None:
        self.arrivals_s: queue.Queue[float] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = lambda *_: self.arrivals_s.put(time.perf_counter())
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(_TOPIC, qos=1)

    def __enter__(self) -> "_Subscriber":
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def _start(command: list[str], subscriber: _Subscriber) -> _Start:
    started_s = time.perf_counter()
    with harness.process([*command]) as edge:
        first_s = subscriber.arrivals_s.get(timeout=_PATIENCE_S)
        cpu_s = harness.cpu_s(edge.pid)
        for _ in range(FRAMES - 1):
            subscriber.arrivals_s.get(timeout=_PATIENCE_S)
        mebibytes = _peak_mebibytes(edge)
        _check_no_tensorflow(edge)
    return _Start(cpu_s, first_s - started_s, mebibytes)


def _peak_mebibytes(process: "subprocess.Popen[str]") -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def _check_no_tensorflow(process: "subprocess.Popen[str]") -> None:
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    if "/site-packages/tensorflow/" in mapped:
        raise SystemExit(f"{process.args} loaded TensorFlow")
