"""How many frames several streams of one edge carry, against what `tflsplit plan` says that such an edge carries.

MobileNetV2 cut where its boundary is small, `tflsplit edge` with one, two and four `[[stream]]` tables on one core, at
full speed; broker and cloud on the other. The plan counts preprocessing, head, encoding, what an edge does besides for
each frame, and that a head takes longer behind another stream's, all from the profile. Figures recorded before
2026-11-29 are of a plan that counted neither of the last two.
"""

import datetime
import json
import subprocess
import sys
from pathlib import Path

import harness
import models
import numpy as np
from harness import Outcome, Samples

from broker.local import server
from tflsplit import text
from tflsplit.cli.trials import replay_stage

COUNTS, FRAMES, ROUNDS = (1, 2, 4), 2000, 3
TARGET = 0.9
_PROGRAM = (sys.executable, "-m", "tflsplit")


def run(folder: Path, *, is_quick: bool) -> list[Outcome]:
    package = models.mobilenet(folder)
    cut = [each for each in package.cuts[1:-1] if each.is_useful][-1].id
    (taken,) = package.manifest.inputs
    inputs = folder / "streams.npy"
    np.save(inputs, np.random.default_rng(0).integers(0, 100, (16, *taken.shape[1:])).astype(taken.dtype))
    with harness.pinned(harness.EDGE_CORE):
        planned = _planned(package.path, cut, folder)  # of each stream, by their number
    reached: dict[int, list[float]] = {count: [] for count in COUNTS}
    command = (*_PROGRAM, "cloud", str(package.path), "--deployment", replay_stage.DEPLOYMENT)
    with server.run(port=0) as serving:
        url = f"mqtt://{serving.address}"
        with harness.process((*command, "--broker", url), core=harness.CLOUD_CORE):
            replay_stage.await_online(serving.address, "cloud")
            for number in range(1 if is_quick else ROUNDS):
                for count in COUNTS:
                    file = folder / f"streams-{count}.toml"
                    alike = {"broker": url, "package": str(package.path), "cut": cut, "source": str(inputs)}
                    file.write_text(_settings(alike, count, f"{number}-{count}"))
                    reached[count].append(_rate(file, count))
    return [
        Outcome(
            f"{text.counted(count, 'stream')} of one edge on one core, all together",
            Samples("in a run", "1/s", tuple(reached[count])),
            Samples("planned", "1/s", (planned[count] * count,)),
            TARGET,
            is_floor=True,
            note=f"MobileNetV2 at {cut}",
        )
        for count in COUNTS
    ]


def _planned(package: Path, cut: str, folder: Path) -> dict[int, float]:
    """What `tflsplit plan` says of each of so many streams, from profiles of this machine."""
    sides = {side: folder / f"streams-{side}.json" for side in ("edge", "cloud")}
    for side, file in sides.items():
        _said("profile", package, "--side", side, "-o", file, "--force")
    profiles = [word for side, file in sides.items() for word in (f"--{side}", file)]
    told = json.loads(_said("plan", package, *profiles, "--bandwidth", "100Mbit", "--rtt", "1ms", "--json"))
    found = next(each for each in told["candidates"] if each["cut"] == cut)["streams_fps"]
    return {count: float(found[str(count)]) for count in COUNTS}


def _settings(alike: dict[str, str], count: int, name: str) -> str:
    alike = {"deployment": replay_stage.DEPLOYMENT} | alike
    lines = ["[edge]", f"count = {FRAMES // count}", *(f"{key} = {json.dumps(value)}" for key, value in alike.items())]
    for number in range(count):
        lines += ["[[stream]]", f'device = "s-{name}-{number}"']
    return "\n".join(lines) + "\n"


def _rate(file: Path, count: int) -> float:
    """Frames a second, from when the last stream began until the last one ended."""
    harness.wait_for_calm()
    command = [*_PROGRAM, "edge", "--config", str(file), "--json", "--log-format", "json"]
    with harness.pinned(harness.EDGE_CORE):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=harness.environment())
    frames = sum(json.loads(line)["results"] for line in done.stdout.splitlines())
    assert frames == FRAMES // count * count, frames
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    began = max(_when(line) for line in lines if line["event"] == "edge runs")
    ended = max(_when(line) for line in lines if line.get("state") == "closed")
    return frames / (ended - began).total_seconds()


def _when(line: dict[str, str]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))


def _said(*words: object) -> str:
    with harness.pinned(harness.EDGE_CORE):
        return subprocess.run(
            [*_PROGRAM, *map(str, words)], capture_output=True, text=True, check=True, env=harness.environment()
        ).stdout
