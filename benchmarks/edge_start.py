"""How soon an edge is there, and how much memory it takes.

From just before the process is started to the arrival of its first frame at a subscriber, and its peak memory after 50
frames: `tflsplit edge` against `bare/edge.py`, a short LiteRT and paho script with the same head, cut and inputs, in
turn. No process may have mapped a file of TensorFlow.
"""

import queue
import subprocess
import sys
import time
from pathlib import Path

import harness
import models
from harness import Outcome, Samples
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from broker import topics

START_TARGET, MEMORY_TARGET = 1.5, 1.25
FRAMES = 50
_PATIENCE_S = 30.0
_TOPIC = topics.topic("bench", "edge", topics.Kind.FEATURES)


def run(folder: Path, *, is_quick: bool) -> list[Outcome | harness.Table]:
    opened, cut = models.converted(folder)
    head, inputs = opened.path / str(opened.file(cut, "head")), models.stored_inputs(folder)
    with harness.mosquitto("set_tcp_nodelay true") as broker:
        port = broker.port
        ours = [harness.TFLSPLIT, "edge", str(opened.path), "--broker", f"mqtt://127.0.0.1:{port}"]
        ours += ["--deployment", "bench", "--device", "edge", "--source", str(inputs), "--cut", cut.id]
        ours += ["--count", str(FRAMES), "--window", str(FRAMES)]  # nobody answers
        bare = Path(__file__).parent / "bare" / "edge.py"
        rival = [sys.executable, str(bare), str(head), str(inputs), str(port), _TOPIC, str(FRAMES)]
        measured: dict[str, list[tuple[float, float]]] = {"ours": [], "rival": []}
        with _Subscriber(port) as subscriber:
            for _ in range(3 if is_quick else 15):
                measured["rival"].append(_start(rival, subscriber))
                measured["ours"].append(_start(ours, subscriber))
    return [
        Outcome(
            "process start to first frame at a subscriber",
            Samples("tflsplit edge", "s", tuple(start_s for start_s, _ in measured["ours"])),
            Samples("LiteRT and paho script", "s", tuple(start_s for start_s, _ in measured["rival"])),
            START_TARGET,
        ),
        Outcome(
            f"peak memory of the edge after {FRAMES} frames",
            Samples("tflsplit edge", "MiB", tuple(mebibytes for _, mebibytes in measured["ours"])),
            Samples("LiteRT and paho script", "MiB", tuple(mebibytes for _, mebibytes in measured["rival"])),
            MEMORY_TARGET,
            note="neither maps a file of TensorFlow",
        ),
    ]


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


def _start(command: list[str], subscriber: _Subscriber) -> tuple[float, float]:
    """Seconds to the first frame, and MiB of memory at most until the last one."""
    started_s = time.perf_counter()
    with harness.process([*command]) as edge:
        first_s = subscriber.arrivals_s.get(timeout=_PATIENCE_S)
        for _ in range(FRAMES - 1):
            subscriber.arrivals_s.get(timeout=_PATIENCE_S)
        mebibytes = _peak_mebibytes(edge)
        _check_no_tensorflow(edge)
    return first_s - started_s, mebibytes


def _peak_mebibytes(process: "subprocess.Popen[str]") -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def _check_no_tensorflow(process: "subprocess.Popen[str]") -> None:
    mapped = Path(f"/proc/{process.pid}/maps").read_text()
    if "/site-packages/tensorflow/" in mapped:
        raise SystemExit(f"{process.args} loaded TensorFlow")
