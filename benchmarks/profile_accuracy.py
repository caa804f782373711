"""Whether a profile of all cuts, made in one go, says the same as timing each pair alone; and how long it takes.

MobileNetV2, all its cuts, head and tail, inputs in the model's stored type. Alone means: a process of its own for each
pair, which loads nothing else, warms up and takes the median of many runs. A second round of these shows how much of a
difference is the machine's own.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import harness
import models
from harness import Outcome, Samples

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import profiler
from tflsplit.package import reading
from tflsplit.timings.profiles import Side

TIME_LIMIT_S, ERROR_LIMIT = 30.0, 0.05

_ALONE = """
import json, statistics, sys, time
from pathlib import Path
from edge_runtime.profiling.profiler import random_columns
from edge_runtime.sources import frames
from tflsplit.package import reading, verify

opened = reading.open_package(Path(sys.argv[1]))
cut = opened.cut(sys.argv[2])
source = frames.from_arrays(random_columns(opened), opened.manifest, name="random inputs")
rows = [taken.arrays for taken in source.inputs()]
head, tail = verify.open_pair(opened, cut)
times = {"head": [], "tail": []}
crossing = [head.run(*row) for row in rows]
for half, name, given in ((head, "head", rows), (tail, "tail", crossing)):
    for number in range(60):
        began_s = time.perf_counter()
        half.run(*given[number % len(given)])
        times[name].append(time.perf_counter() - began_s)
print(json.dumps({name: statistics.median(samples[10:]) for name, samples in times.items()}))
"""


def run(folder: Path, *, is_quick: bool) -> list[Outcome | harness.Table]:
    opened = models.converted(folder)[0]
    cuts = [cut.id for cut in opened.cuts[1:]]
    cuts = cuts[::8] if is_quick else cuts
    first = {cut: _alone(opened, cut) for cut in cuts}
    made, took_s = {}, {}
    for side, name in ((Side.EDGE, "head"), (Side.CLOUD, "tail")):
        began_s = time.perf_counter()
        found = profiler.profile(profiler.Task(opened, side, Cpu()), folder / f"accuracy.{side.value}")
        took_s[side] = time.perf_counter() - began_s
        made[name] = {entry.cut: entry.run.p50_s for entry in found.cuts}
    second = {cut: _alone(opened, cut) for cut in cuts}
    profiled = {cut: made["head"][cut] + made["tail"][cut] for cut in cuts}
    return [
        *(
            Outcome(
                f"profile all {len(opened.cuts)} cuts of MobileNetV2, {side.value}",
                Samples("time it takes", "s", (seconds,)),
                harness.limit(TIME_LIMIT_S, "s"),
                1.0,
            )
            for side, seconds in took_s.items()
        ),
        _error("a profile against each pair alone, head + tail", profiled, first, second, ERROR_LIMIT),
        _error("each pair alone against itself, later", second, first, first, None),
    ]


def _error(what: str, ours: dict[str, float], first: dict[str, float], second: dict[str, float], target: float | None):
    errors = tuple(abs(ours[cut] / ((first[cut] + second[cut]) / 2) - 1) for cut in ours)
    ninth = f"{statistics.quantiles(errors, n=10)[-1]:.1%}"
    return Outcome(
        f"median error of {what}",
        Samples("|p50 / p50 - 1|", "%", errors),
        harness.limit(target or ERROR_LIMIT, "%"),
        None if target is None else 1.0,
        note=f"90th percentile {ninth}, largest {max(errors):.1%}",
    )


def _alone(opened: reading.Package, cut: str) -> float:
    command = [sys.executable, "-c", _ALONE, str(opened.path), cut]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return sum(json.loads(done.stdout).values())
