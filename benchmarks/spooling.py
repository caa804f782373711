"""What a spool on disk costs a frame, and a stream.

Frames of 12.5 KB put, read and removed one after the other, with the disk waited for at each (`--spool-sync frame`) and
without, against a file that is appended to and synchronised, or only appended to, in the same folder.
Then frames a second through edge, Mosquitto and cloud at the cut of 12,544 bytes, through a spool and from memory, in
turn. An SD card waits longer for each frame than the disk of a workstation: run it where the edge will run.
"""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import deployment
import harness
import models
import numpy as np
from deployment import Load
from harness import Outcome, Samples, Table

from broker.messages import wire
from edge_runtime.delivery.durable import spool
from edge_runtime.delivery.framing import Packed
from tflsplit.coding import feature_codec
from tflsplit.graph.tensors import TensorSpec

_FRAME_BYTES = 12_500
_WINDOW = 16
_WARM_UP = 50


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    frames, rounds = (200, 1) if is_quick else (1000, 5)
    outcomes: list[Outcome | Table] = []
    rows = []
    for sync, appended in (("frame", "append and fsync"), ("none", "append")):
        steps: dict[str, list[float]] = {"put": [], "read": [], "remove": []}
        bare: list[float] = []
        for _ in range(rounds):
            for name, taken in _steps_s(folder, sync, frames).items():
                steps[name] += taken
            bare += _appends_s(folder, frames, is_synchronised=sync == "frame")
        ours = Samples(f"spool, sync {sync}", "s", tuple(steps["put"]))
        outcomes.append(
            Outcome(f"accepting a frame of {_FRAME_BYTES:,} bytes", ours, Samples(appended, "s", tuple(bare)))
        )
        rows.append((sync, *(_shown(taken) for taken in steps.values())))
    outcomes.append(
        Table("A frame's way through the spool, p50 / p99 in ms", ("sync", "put", "read", "remove"), tuple(rows))
    )
    return [*outcomes, *_streams(folder, is_quick=is_quick)]


def _shown(taken_s: list[float]) -> str:
    return f"{statistics.median(taken_s) * 1e3:.3f} / {np.percentile(taken_s, 99) * 1e3:.3f}"


def _steps_s(folder: Path, sync: str, frames: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {"put": [], "read": [], "remove": []}
    packed = [_packed(sequence) for sequence in range(frames)]
    with _opened(folder, sync) as spooled:
        key = None
        for one in packed:
            taken["put"].append(harness.seconds(lambda one=one: spooled.put(one)))
            began_s = time.perf_counter()
            read = spooled.after(key)
            taken["read"].append(time.perf_counter() - began_s)
            key = read.key
            taken["remove"].append(harness.seconds(lambda read=read: spooled.remove(read)))
    return taken


@contextlib.contextmanager
def _opened(folder: Path, sync: str) -> Iterator[spool.Spool]:
    with (
        tempfile.TemporaryDirectory(dir=folder) as where,
        spool.open_spool(Path(where), spool.limits(sync=sync), deployment="bench", device="edge") as opened,
    ):
        yield opened


def _packed(sequence: int) -> Packed:
    spec = TensorSpec("", (1, _FRAME_BYTES), "int8", 0.5, 0)
    frame = wire.Frame(bytes(16), 3, 1, sequence, 0, 0, (spec,))
    encoded = wire.encode(frame, (np.full(spec.shape, sequence % 100, np.int8),), feature_codec.Plain())
    return Packed(1, sequence, bytes(16).hex(), "op002", 0, 0.0, encoded)


def _appends_s(folder: Path, frames: int, *, is_synchronised: bool) -> list[float]:
    data = bytes(_FRAME_BYTES)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        settle: Callable[[], None] = (lambda: os.fsync(file.fileno())) if is_synchronised else lambda: None
        return [harness.seconds(lambda: (file.write(data), settle())) for _ in range(frames)]


def _streams(folder: Path, *, is_quick: bool) -> Iterator[Outcome]:
    frames, rounds = (150, 1) if is_quick else (500, 5)
    opened, cut = models.converted(folder)
    load = Load(models.stored_inputs(folder), count=_WARM_UP + frames, window=_WINDOW)
    rates: dict[str, list[float]] = {"memory": [], "frame": [], "none": []}
    with harness.mosquitto("set_tcp_nodelay true") as broker, deployment.cloud(opened, broker.port):
        for _ in range(rounds):
            for sync, reached in rates.items():
                harness.wait_for_calm(patience_s=3.0)
                with tempfile.TemporaryDirectory(dir=folder) as where:
                    chosen = load if sync == "memory" else replace(load, spool=Path(where), sync=sync)
                    reached.append(_rate(deployment.stream(opened, cut, broker.port, chosen)))
    memory = Samples("from memory", "1/s", tuple(rates.pop("memory")))
    for sync, reached in rates.items():
        yield Outcome(f"streaming, window of {_WINDOW}", Samples(f"spool, sync {sync}", "1/s", tuple(reached)), memory)


def _rate(answers: list[deployment.Answer]) -> float:
    kept = answers[_WARM_UP:]
    return (len(kept) - 1) / (kept[-1].at_s - kept[0].at_s)
