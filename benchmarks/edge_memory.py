"""What an edge takes of a small board's memory, by what it is asked to do.

MobileNetV2 on one thread, as a bundle where one cut is enough, over Mosquitto on loopback; each runs 50 frames that no
cloud answers, and the peak of its process is read until it ends (VmHWM: with the pages of libraries, which on a board
that runs nothing else are its own). The limit is the budget for a Raspberry Pi Zero 2 of 512 MB: a quarter of it.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import harness
import models
from harness import Outcome, Samples

from tflsplit import bundle
from tflsplit.package.manifest import Role

BUDGET_MIB = 128.0
FRAMES = 50
_LOOK_S = 0.05
_PROGRAM = (sys.executable, "-m", "tflsplit")


def run(folder: Path, *, is_quick: bool) -> list[Outcome]:
    whole, cut = models.converted(folder)
    bundled = bundle.write(folder / "small.tflsplit", whole, Role.EDGE, (cut,), replaces_existing=True)
    plan = _plan(whole.path, folder)
    with harness.mosquitto("set_tcp_nodelay true") as broker:
        alike = {"broker": f"mqtt://127.0.0.1:{broker.port}", "deployment": "bench", "count": FRAMES, "drain": "0.1s"}
        alike["window"] = FRAMES  # nobody answers
        alike["source"] = str(models.stored_inputs(folder))
        words = [word for name, value in alike.items() for word in (f"--{name}", str(value))]
        one = [*words, "--device", "edge", "--cut", cut.id, str(bundled.path)]
        watched = ["--metrics", str(harness.free_port()), "--telemetry", "1s"]
        ways = {
            "a bundle of one cut": one,
            "with a spool": [*one, "--spool", str(folder / "spool")],
            "with a spool, metrics and telemetry": [*one, "--spool", str(folder / "spool"), *watched],
            "two streams": ["--config", str(_streams(folder, alike, bundled.path, cut.id, 2))],
            "four streams": ["--config", str(_streams(folder, alike, bundled.path, cut.id, 4))],
            "with a cut that moves (--adapt)": [*words, "--device", "edge", "--plan", str(plan), "--adapt"],
        }
        runs = range(1 if is_quick else 3)
        peaks = {way: tuple(_peak_mib([*_PROGRAM, "edge", *options]) for _ in runs) for way, options in ways.items()}
    limit = harness.limit(BUDGET_MIB, "MiB")
    return [
        Outcome(f"peak memory, {way}", Samples("tflsplit edge", "MiB", taken), limit, 1.0)
        for way, taken in peaks.items()
    ]


def _plan(package: Path, folder: Path) -> Path:
    made = folder / "small-plan.json"
    profiles = {side: folder / f"small-{side}.json" for side in ("edge", "cloud")}
    for side, file in profiles.items():
        _done([*_PROGRAM, "profile", str(package), "--side", side, "-o", str(file)])
    given = [word for side, file in profiles.items() for word in (f"--{side}", str(file))]
    _done([*_PROGRAM, "plan", str(package), *given, "--link", "4g", "-o", str(made)])
    return made


def _streams(folder: Path, alike: dict[str, object], package: Path, cut: str, count: int) -> Path:
    lines = ["[edge]", *(f"{name} = {json.dumps(value)}" for name, value in alike.items())]
    for number in range(count):
        lines += ["", "[[stream]]", f'device = "s{number}"', f'package = "{package}"', f'cut = "{cut}"']
    file = folder / f"memory-{count}.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def _done(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _peak_mib(command: Sequence[str]) -> float:
    """Of a process that ends by itself: of what it had the last time that it was looked at."""
    peak = 0.0
    with harness.process(command) as edge:
        while edge.poll() is None:
            with contextlib.suppress(StopIteration, OSError):  # it is ending
                lines = Path(f"/proc/{edge.pid}/status").read_text().splitlines()
                peak = int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
            time.sleep(_LOOK_S)
        if edge.returncode != 1:  # frames had no answer
            raise SystemExit(f"{' '.join(command)} ended with code {edge.returncode}")
    return peak
