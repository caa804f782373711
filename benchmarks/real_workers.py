"""docs/measurements/workers.md: real workers of shared models, each killed once, and what became of the results.

    python benchmarks/real_workers.py ROWS.jsonl [--models DIR] [--public DIR] [--only MODEL …] [--page] \\
        > docs/measurements/workers.md

Takes hours; rows that are in the file already are not run again, and with `--page` none is. Each machine is a process
(`tflsplit worker`) on this computer, which is killed with SIGKILL once while frames are on their way, and started
again.
Packages of the models are kept in --models; without --public, the folder of public models, one is left out. --only has
the models to run, in that order; the cheapest first is unet, teachable_machine, mobilenet_v3, mobilenet_v2.
"""

import argparse
import collections
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import harness

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import named_models
import ways_to_share

from tflsplit import errors
from tflsplit.cli.trials.sharing import one_box
from tflsplit.package import reading
from tflsplit.placement import letters, placement, recovery
from tflsplit.placement.rewriting.network import Network

# Slow machines on a quick network, where it pays to use them all.
_SPEED = 3.4e8
_FRAMES, _FRAMES_OF_HEAVY = 1000, 300
_HEAVY = ("vgg_16", "resnet_50")
# Where machines exchange something after each layer a frame takes thousands of letters; so many are enough for a row.
_LETTERS, _FEWEST = 150_000, 50
# No wait for a pace: this computer has enough to do.
_UNPACED = "1e18"


@dataclass(frozen=True, slots=True)
class Case:
    model: str
    machines: int
    way: str
    over: str = "mqtt"

    @property
    def key(self) -> str:
        return f"{self.model} {self.machines} {self.way} {self.over}"


_SIMPLE = ("rows", "output_channels", "input_channels", "layer_wise")
CASES = (
    *(Case(model, count, "latency") for count in (3, 6) for model in named_models.MODELS),
    *(Case(model, count, "chain", "box") for count in (3, 4) for model in named_models.MODELS),
    *(Case(model, 4, way) for way in (*_SIMPLE, "grid_2x2") for model in named_models.MODELS),
    *(Case(model, count, "latency") for count in (2, 4, 5) for model in named_models.MODELS),
    *(Case(model, 3, "chain") for model in named_models.MODELS),
    *(Case(model, count, "throughput") for count in (3, 6, 2, 4, 5) for model in named_models.MODELS),
    *(Case(model, 6, way) for way in (*_SIMPLE, "grid_2x3", "grid_3x2") for model in named_models.MODELS),
    *(Case(model, count, way) for count in (2, 3, 5) for way in _SIMPLE for model in named_models.MODELS),
)


def measured(case: Case, models: Path, public: Path | None) -> dict:
    """What came out, as JSON has it."""
    package = reading.open_package(named_models.package(case.model, models, public))
    network = Network(package.graph)
    placed = ways_to_share.way(case.way, network, case.machines, speed=_SPEED)
    programs = letters.programs(network, placed, placement.schedule(network, placed))
    sent = sum(len(task.sends) for each in programs for task in each.tasks) + sum(len(each.first) for each in programs)
    most = _FRAMES_OF_HEAVY if case.model in _HEAVY else _FRAMES
    frames = max(_FEWEST, min(most, _LETTERS // max(1, sent)))
    began_s = time.monotonic()
    found = {"letters": sent, "frames_asked": frames, "used": len(recovery.used(placed))}
    with tempfile.TemporaryDirectory(prefix="tflsplit-bench-") as folder:
        given = ways_to_share.write(package, ways_to_share.cluster(case.machines), placed, Path(folder) / "shared")
        try:
            found |= one_box.run(given, frames=frames, pace=_UNPACED, over=case.over, kills=True).as_json()
        except errors.TflsplitError as problem:
            found |= {"failed": str(problem)}
    return found | {"took_s": time.monotonic() - began_s, "machine": harness.machine()}


def page(rows: dict[str, dict]) -> list[str]:
    done = [(case, rows[case.key]) for case in CASES if case.key in rows]
    whole = [found for _, found in done if "failed" not in found and found["results"] == found["frames"]]
    lines = [
        "# Real workers, each killed once",
        "",
        "Written by `benchmarks/real_workers.py`.",
        *_INTRODUCTION.strip().splitlines(),
        "",
        f"{len(done)} of {len(CASES)} combinations were run: {sum(each['frames'] for each in whole):,} frames, "
        f"{sum(each['killed'] for each in whole)} kills, "
        f"{sum(each['frames'] - each['results'] for each in whole)} results lost, "
        f"{sum(each['wrong'] for each in whole)} wrong, "
        f"{sum(not each['in_order'] for each in whole)} runs out of order, {len(done) - len(whole)} runs failed.",
        "",
        "| model | machines | shared by | over | letters a frame | frames | lost | wrong | in order | killed "
        "| computed again | answered twice |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(case, found) for case, found in done),
        "",
    ]
    if missing := [case for case in CASES if case.key not in rows]:
        lines += [f"Not run yet: {_listed(missing)}.", ""]
    last = list(rows.values())[-1]["machine"]
    return [*lines, "Run on: " + "; ".join(f"{name} {value}" for name, value in last.items())]


_INTRODUCTION = """
Each machine is a `tflsplit worker` on one computer with two processors, at Mosquitto or in a box (shared memory).
The source's worker is killed first, with SIGKILL: its inputs go with it, and frames are counted from its new start.
Then each other one is killed when all have worked together for a while, and started again at once; what was on its way
is computed again. Every result is compared with the whole model's, bit for bit, those before the source's death too.
*Answered twice* are results that came again after a machine was lost, with the same sequence, by which readers know
them. Models have random weights, but for `teachable_machine`, and their usual sizes (VGG-16 and ResNet50 at 224 x 224,
with fewer frames); `latency` and `throughput` are what the search chose for machines of uneven speed. Placements that
exchange something after each layer need thousands of letters a frame, and had fewer frames.
"""


def _row(case: Case, found: dict) -> str:
    head = f"| {case.model} | {case.machines} | {case.way.replace('_', ' ')} | {case.over} | {found['letters']}"
    if "failed" in found:
        return f"{head} | failed: {found['failed']} | | | | | | |"
    lost = found["frames"] - found["results"]
    order = "yes" if found["in_order"] else "**no**"
    told = (found["frames"], lost, found["wrong"], order, found["killed"], found["recomputed"], found["repeats"])
    return f"{head} | {' | '.join(map(str, told))} |"


def _listed(cases: list[Case]) -> str:
    """How many of each way: the whole list is in `CASES`."""
    ways = collections.Counter(f"{case.way.replace('_', ' ')} over {case.over}" for case in cases)
    return ", ".join(f"{count} of {way}" for way, count in ways.items())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("--models", type=Path, default=Path("build/models"))
    parser.add_argument("--public", type=Path)
    parser.add_argument("--only", nargs="+", choices=named_models.MODELS, default=())
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    rows = {}
    if given.rows.exists():
        rows = {each["key"]: each for each in map(json.loads, given.rows.read_text().splitlines())}
    chosen = [case for model in given.only for case in CASES if case.model == model] or CASES
    for case in () if given.page else chosen:
        if case.key in rows or (case.model == named_models.TEACHABLE and given.public is None):
            continue
        print(case.key, file=sys.stderr, flush=True)
        rows[case.key] = {"key": case.key} | measured(case, given.models, given.public)
        with given.rows.open("a") as stream:
            stream.write(json.dumps(rows[case.key]) + "\n")
    print("\n".join(page({case.key: rows[case.key] for case in CASES if case.key in rows})))


if __name__ == "__main__":
    main()
