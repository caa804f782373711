"""What `tflsplit cloud --engine ray` costs those who have Ray, beside worker processes and the cloud's own process.

Two actors of a local cluster, two workers and one process take turns. The first tail is that of MobileNetV2 behind
12,544 bytes, the second that behind its last useful cut, next to nothing, which shows what each engine takes itself.
Frames a second with 32 of them outstanding, and the time of one at a time. Memory is proportional, of all processes
that were started for the engine: what several map counts in parts.
"""

import contextlib
import importlib.util
import itertools
import os
import statistics
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import harness
import models
import psutil
import workers as by_workers
from harness import Outcome, Samples, Table

from broker.cloud import answerer
from broker.cloud.engine import Engine, Inline
from broker.cloud.workers import pool, ray_actors

_COUNT = 2
_RAY, _WORKERS, _INLINE = "Ray, 2 actors", "2 workers", "one process"


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    if importlib.util.find_spec("ray") is None:
        raise harness.SkippedError("Ray is not installed: pip install ray")
    opened, heavy = models.converted(folder)
    light = [cut for cut in opened.cuts[:-1] if cut.is_useful][-1]
    frames, rounds = (200, 2) if is_quick else (600, 7)
    encoded = {cut: by_workers.frames_of(opened, cut) for cut in (heavy, light)}
    warm = [(opened, cut.id) for cut in encoded]
    rates, latencies_s = ({cut: {name: [] for name in (_RAY, _WORKERS, _INLINE)} for cut in encoded} for _ in range(2))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    starts: dict[str, Callable[[], Engine]] = {
        _RAY: lambda: ray_actors.start([opened], _COUNT, address="local", warm=warm),
        _WORKERS: lambda: pool.Workers([opened], _COUNT, warm=warm),
        _INLINE: lambda: Inline.of(opened),
    }
    with contextlib.ExitStack() as stack:
        engines, costs = {}, {}
        for name, start in starts.items():
            engines[name], costs[name] = _started(start)
            stack.callback(engines[name].close)
        for _ in range(rounds):
            harness.wait_for_calm()
            for cut, sent in encoded.items():
                for name, engine in engines.items():
                    rates[cut][name].append(by_workers.rate(engine, sent, frames))
                    alone_s = (_one_s(engine, frame) for frame in itertools.islice(itertools.cycle(sent), frames // 4))
                    latencies_s[cut][name].append(statistics.median(alone_s))
        rows = tuple((name, f"{start_s:.1f}", _memory(pids)) for name, (start_s, pids) in costs.items())
    words = {heavy: "MobileNetV2's tail", light: "a tail of next to nothing"}
    return [
        *(
            Outcome(f"{what}, {words[cut]}", *(Samples(name, unit, tuple(found[cut][name])) for name in (_RAY, rival)))
            for what, unit, found in (("frames a second", "1/s", rates), ("one frame", "s", latencies_s))
            for cut in encoded
            for rival in (_WORKERS, _INLINE)
        ),
        Table(
            "What an engine takes",
            ("engine", "until it has started, s", "memory of its processes, MiB"),
            rows,
            f"Ray {metadata.version('ray')}, a local cluster of {os.cpu_count()} CPUs that starts with the engine, "
            "its own processes included.",
        ),
    ]


def _started(start: Callable[[], Engine]) -> tuple[Engine, tuple[float, set[int]]]:
    """With the seconds that it took and the processes that came with it."""
    before, began_s = _children(), time.perf_counter()
    engine = start()
    return engine, (time.perf_counter() - began_s, _children() - before)


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def _memory(pids: set[int]) -> str:
    taken = 0
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            taken += psutil.Process(pid).memory_full_info().pss
    return f"{taken / 2**20:.0f}"


def _one_s(engine: Engine, frame: bytes) -> float:
    answered, began_s = threading.Event(), time.perf_counter()
    engine.submit(answerer.Job("bench", frame, time.time() * 1e3), lambda _: answered.set())
    answered.wait()
    return time.perf_counter() - began_s
