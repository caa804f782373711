"""What worker processes are worth: frames a second with 1, 2 and 4, what they share in memory, what batches give.

The tail of MobileNetV2 behind 12,544 bytes, handed to the engine of `tflsplit cloud --workers` as fast as it answers.
On a machine with two cores the second worker has to share them with the process that feeds both, and four are too many.
Memory is each process's proportional share: what several map counts in parts. Batches are one frame against eight.
"""

import contextlib
import itertools
import statistics
import threading
import time
from pathlib import Path

import harness
import models
import psutil
from harness import Outcome, Samples, Table

from broker.cloud import answerer, batching
from broker.cloud.engine import Engine
from broker.cloud.workers import pool
from broker.messages import wire
from tflsplit.coding import feature_codec
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify

TARGET = 1.7
_COUNTS = (1, 2, 4)
_OUTSTANDING = 32
_WARM_UP = 20


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    opened, cut = models.converted(folder)
    frames, rounds = (200, 2) if is_quick else (600, 7)
    encoded = frames_of(opened, cut)
    rates: dict[int, list[float]] = {count: [] for count in _COUNTS}
    with contextlib.ExitStack() as stack:
        engines = {count: pool.Workers([opened], count, warm=[(opened, cut.id)]) for count in _COUNTS}
        for engine in engines.values():
            stack.callback(engine.close)
        for _ in range(rounds):
            harness.wait_for_calm()
            for count, engine in engines.items():
                rates[count].append(rate(engine, encoded, frames))
        memory = _memory(opened, cut, engines)
    samples = {count: Samples(f"{count} workers", "1/s", tuple(found)) for count, found in rates.items()}
    return [
        Outcome("frames a second with 2 workers", samples[2], samples[1], TARGET, is_floor=True),
        Outcome("frames a second with 4 workers", samples[4], samples[1]),
        memory,
        _batches(opened),
    ]


def frames_of(opened, cut) -> list[bytes]:
    digest = bytes.fromhex(opened.digest)[: wire.PACKAGE_BYTES]
    return [
        wire.encode(wire.Frame(digest, cut.position, 1, number, 0, 0, cut.boundary), arrays, feature_codec.Plain())
        for number, arrays in enumerate(verify.random_samples(cut.boundary, models.INPUTS))
    ]


def rate(engine: Engine, encoded: list[bytes], count: int) -> float:
    """Frames a second, `_OUTSTANDING` of them always waiting or in progress."""
    room, done_s = threading.Semaphore(_OUTSTANDING), []

    def done(answer: answerer.Answer) -> None:
        if answer.refused is not None:
            raise SystemExit(answer.error)
        done_s.append(time.perf_counter())
        room.release()

    for frame in itertools.islice(itertools.cycle(encoded), count + _WARM_UP + _OUTSTANDING):
        room.acquire()
        engine.submit(answerer.Job("bench", frame, time.time() * 1e3), done)
    for _ in range(_OUTSTANDING):
        room.acquire()
    return count / (done_s[_WARM_UP + count] - done_s[_WARM_UP])


def _memory(opened, cut, engines: dict[int, pool.Workers]) -> Table:
    tail = opened.path / str(opened.file(cut, "tail"))
    rows = []
    for count, engine in engines.items():
        taken = [psutil.Process(pid).memory_full_info() for pid in engine.pids]
        rows.append(
            (
                str(count),
                *(
                    f"{sum(getattr(each, kind) for each in taken) / count / 2**20:.1f}"
                    for kind in ("rss", "pss", "uss")
                ),
            )
        )
    return Table(
        "Memory of each worker, MiB",
        ("workers", "resident", "proportional", "its own"),
        tuple(rows),
        f"All of the run were alive at once and shared. The tail's file, {tail.stat().st_size / 2**20:.1f} MiB, is in "
        "memory once; what XNNPACK packs its weights into, about as much again, is each worker's own.",
    )


def _batches(opened) -> Table:
    """One frame against eight, for the useful cuts."""
    rows = []
    for cut in opened.cuts:
        if not cut.is_useful or cut is opened.cuts[-1]:
            continue
        model = opened.tail_bytes(cut)
        with Interpreter(model) as one, Interpreter(model, batch=batching.SIZE) as several:
            frames = verify.random_samples(one.inputs, batching.SIZE)
            batch = batching.Batch(several, batching.SIZE)
            is_equal = [one.run(*frame)[0].tobytes() for frame in frames] == [
                outputs[0].tobytes() for outputs in batch.run(frames)
            ]
            pairs = [_timed(one, batch, frames) for _ in range(15)]
        one_s, batch_s = (statistics.median(each) for each in zip(*pairs, strict=True))
        gain = statistics.median(alone * batching.SIZE / together for alone, together in pairs)
        words = (f"{one_s * 1e3:.3f}", f"{batch_s * 1e3:.3f}", f"{gain:.2f}", "yes" if is_equal else "no")
        rows.append((cut.layer or cut.id, *words))
    columns = ("tail behind", "one frame, ms", f"{batching.SIZE} together, ms", "gain", "same bits")
    return Table("What a batch is worth", columns, tuple(rows), "`--batch-window` uses batches from a gain of 1.2.")


def _timed(one: Interpreter, batch: batching.Batch, frames) -> tuple[float, float]:
    """Seconds of one frame, and of a batch."""
    alone_s = harness.seconds(lambda: [one.run(*frame) for frame in frames]) / len(frames)
    return alone_s, harness.seconds(lambda: batch.run(frames))
