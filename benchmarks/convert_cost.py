"""What a package costs beyond the conversion that anyone needs.

`tflsplit convert --pairs none` (every cut of MobileNetV2 found, named and listed) against `bare/convert.py`, which
loads the same file, calibrates on the same samples, converts once and writes the result; both as processes, in turn.
Then what one further pair costs, head and tail sliced, written and flushed to disk.
"""

import shutil
import sys
from pathlib import Path

import harness
import models
from harness import Outcome, Samples

from tflsplit.package import reading, writing

TARGET = 1.25
PAIR_LIMIT_S = 0.050


def run(folder: Path, *, is_quick: bool) -> list[Outcome | harness.Table]:
    model, pictures = models.keras_file(folder), models.pictures(folder)
    made, bare = folder / "timed.tflsplit", folder / "bare.tflite"
    ours = [harness.TFLSPLIT, "convert", str(model), "-o", str(made), "--pairs", "none", "--force"]
    ours += ["--calibration", str(pictures), "--preprocess", "symmetric"]
    rival = [sys.executable, str(Path(__file__).parent / "bare" / "convert.py"), str(model), str(pictures), str(bare)]
    times: dict[str, list[float]] = {"ours": [], "rival": []}
    for _ in range(1 if is_quick else 5):
        harness.wait_for_calm()
        times["rival"].append(harness.seconds(lambda: _run(rival)))
        times["ours"].append(harness.seconds(lambda: _run(ours)))
    return [
        Outcome(
            "convert MobileNetV2, all cuts listed",
            Samples("tflsplit convert --pairs none", "s", tuple(times["ours"])),
            Samples("bare script, one conversion", "s", tuple(times["rival"])),
            TARGET,
        ),
        _each_pair(reading.open_package(made), folder, runs=2 if is_quick else 5),
    ]


def _each_pair(opened: reading.Package, folder: Path, *, runs: int) -> Outcome:
    """The time of a package with all pairs less that of one without any, by pair."""
    inner, model = opened.cuts[1:-1], opened.model_bytes()
    target = folder / "pairs.tflsplit"
    each = []
    for _ in range(runs):
        none_s = harness.seconds(lambda: writing.write(target, opened.manifest, model, (), replaces_existing=True))
        all_s = harness.seconds(lambda: writing.write(target, opened.manifest, model, inner, replaces_existing=True))
        each.append((all_s - none_s) / len(inner))
    shutil.rmtree(target)
    return Outcome(
        f"each further pair ({len(inner)} pairs of MobileNetV2)",
        Samples("package.write", "s", tuple(each)),
        harness.limit(PAIR_LIMIT_S, "s"),
        1.0,
    )


def _run(command: list[str]) -> None:
    with harness.process(command) as converting:
        converting.communicate()
        if converting.returncode:
            raise SystemExit(f"{command[0]} ended with code {converting.returncode}")
