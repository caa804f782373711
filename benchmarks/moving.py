"""A cut that moves, as real processes: device, broker and cloud, over a relay that plays a trace.

MobileNetV2, its candidates by a profile of this machine, all heads and tails open.

- Switches: another cut for each frame as fast as frames are answered, while the cloud loses 30 % of its time to others;
  every result is compared with the whole model's.
- What a switch adds to a frame's work on the device: frames that change the cut against frames of the same cuts that do
  not, by processor time, since what else this machine does is no cost of a switch.
- Memory: a process with all heads open against one with the whole model's interpreter alone; both have run.
- Model time: what `simulate` makes of policies over a trace that they also ran over. The costs of cuts are those of the
  run itself, or of the cut that stayed, so that the difference is that of links, estimates and moves.
"""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import harness
import models
import numpy as np
from harness import Outcome, Samples, Table

from broker.links.playback import Play
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.adapting import candidates
from edge_runtime.profiling import profiler
from edge_runtime.sources import frames
from tflsplit.api import simulating
from tflsplit.cli.trials import replay_stage
from tflsplit.cli.trials.moving import played, stage
from tflsplit.cli.trials.moving.task import Task, Told
from tflsplit.package.reading import Package
from tflsplit.switching import comparison, traces
from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.controller import Tuning
from tflsplit.switching.policy import Probing
from tflsplit.switching.simulation import Setting
from tflsplit.switching.traces import Conditions
from tflsplit.timings.profiles import Profile, Side

SWITCHES, ADDED_LIMIT_S, MEMORY_LIMIT, MODEL_LIMIT = 10_000, 0.001, 1.1, 0.05
_STEP_S = 30.0  # of the run of switches; as many as are needed
_ROUNDS = 400
_TUNING = Tuning(probing=Probing())
_TRACE = Path(__file__).parents[1] / "examples" / "traces" / "lte.csv"
_SLOWER, _PLAYED_S = 160.0, 40.0


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    opened = models.both(folder)["MobileNetV2"]
    profiles = tuple(
        profiler.profile(profiler.Task(opened, side, Cpu()), folder / f"moving.{side.value}")
        for side in (Side.EDGE, Side.CLOUD)
    )
    source = models.pictures(folder)
    played.write_outputs(opened, source, folder / "outputs.npz")
    compared = _compared(opened, profiles, traces.read(_TRACE), 10.0 if is_quick else _PLAYED_S)
    choices = compared[1]
    return [
        *_switches(opened, choices, source, folder, 500 if is_quick else SWITCHES),
        _added(opened, choices, source, 40 if is_quick else _ROUNDS),
        _memory(opened, choices),
        *_model_time(opened, compared, source, folder),
    ]


def _compared(opened: Package, profiles: tuple[Profile, ...], trace: traces.Trace, seconds: float) -> played.Compared:
    edge, cloud = profiles
    setting = Setting(slow_edge=_SLOWER, duration_s=seconds)
    given = {"trace": trace, "setting": setting, "objective": "mean", "tuning": _TUNING, "input_codecs": "int8"}
    return simulating.prepare(opened, edge=edge, cloud=cloud, **given)


def _switches(opened: Package, choices: list[Choice], source: Path, folder: Path, wanted: int) -> list[Outcome]:
    steady = traces.of_rates("steady", [(0.0, 1e9, Conditions(load=0.3))], _STEP_S)
    told: list[Told] = []
    with stage.stage(opened, Play(steady, 0.001), folder) as running:
        while sum(len(each.switches) for each in told) < wanted:
            task = Task(
                package=str(opened.path.resolve()),
                choices=tuple(choices),
                usual=Present(1e-9, 0.001),
                policy=comparison.ADAPTIVE,
                objective="mean",
                has_probes=False,
                slow_edge=1.0,
                fps=2000.0,
                seconds=_STEP_S,
                source=str(source),
                outputs=str(folder / "outputs.npz"),
                deployment=replay_stage.DEPLOYMENT,
                device=f"edge-{len(told)}",
            )
            told.append(running.run(task, (str(Path(__file__).with_name("restless.py")),)))
    frames = sum(len(each.frames) for each in told)
    doubled = frames - sum(len({frame.taken_s for frame in each.frames}) for each in told)
    bad = sum(each.lost + each.wrong for each in told) + doubled
    switches = sum(len(each.switches) for each in told)
    return [
        Outcome(
            f"frames lost, doubled or wrong in {switches:,} switches under load",
            Samples("share of frames", "%", (bad / frames,)),
            harness.limit(1.0, "%"),
            0.0,
            note=f"{frames:,} frames, {bad} of them lost, doubled or with another result than the whole model's.",
        )
    ]


def _added(opened: Package, choices: list[Choice], source: Path, rounds: int) -> Outcome:
    """Each cut twice in turn: the first time the cut before was another one."""
    moved, stayed = ({each.id: [] for each in choices} for _ in range(2))
    with candidates.opened(opened, choices) as heads:
        inputs = [each.arrays for each in frames.open_source(source, opened.manifest).inputs()]
        for turn, each in itertools.product(range(rounds), heads):
            for times in (moved, stayed):
                began_s = time.thread_time()
                each.head.run(inputs[turn % len(inputs)])
                times[each.choice.id].append(time.thread_time() - began_s)
    added = {name: np.percentile(moved[name], 99) - np.percentile(stayed[name], 99) for name in moved}
    worst = max(added, key=added.__getitem__)
    return Outcome(
        "what a switch adds to a frame at the 99th percentile, the worst cut",
        Samples(f"at {worst}", "s", (float(added[worst]),)),
        harness.limit(ADDED_LIMIT_S, "s"),
        1.0,
        note="At each cut: " + ", ".join(f"{name} {1e3 * more:+.2f} ms" for name, more in added.items()) + ".",
    )


_ALONE = """
import sys, psutil
from pathlib import Path
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import reading, verify
from tflsplit.segments import Segments

opened = reading.open_package(Path(sys.argv[1]))
row = verify.random_samples(opened.manifest.inputs, 1)[0]
cuts = [opened.cut(name) for name in sys.argv[2:]]
held = Segments(opened, [opened.cuts[0], *cuts]) if cuts else Interpreter(opened.model_bytes())
opened.forget_graph()
for _ in range(20):
    held.run(row, opened.cuts[0], cuts[-1]) if cuts else held.run(*row)
print(psutil.Process().memory_info().rss)
"""


def _memory(opened: Package, choices: list[Choice]) -> Outcome:
    def rss_mib(*cuts: str) -> float:
        command = [sys.executable, "-c", _ALONE, str(opened.path), *cuts]
        said = subprocess.run(command, check=True, capture_output=True, text=True, env=harness.environment()).stdout
        return int(said) / 2**20

    names = sorted((each.cut for each in choices), key=lambda name: opened.cut(name).position)
    taken = [(rss_mib(*names), rss_mib()) for _ in range(5)]
    return Outcome(
        f"memory with all {len(names)} heads open",
        Samples("segments", "MiB", tuple(all_open for all_open, _ in taken)),
        Samples("the whole model alone", "MiB", tuple(alone for _, alone in taken)),
        MEMORY_LIMIT,
    )


def _model_time(opened: Package, compared: played.Compared, source: Path, folder: Path) -> list[Outcome | Table]:
    told = played.run(opened, compared, {played.STATIC, "sciot"}, folder, source=source, on_step=print)
    world, choices, goal, tuning = compared
    real = played.comparison_of(compared, told)
    rows, shares = [], {}
    for name in ("adaptive", "sciot", *real.statics):
        costed = [_as_it_was(each, (told[name], told[each.id]), world.setting.slow_edge) for each in choices]
        # Costs are of this run, so that only what is run by them is looked at.
        model = comparison.compare(world, costed, goal, tuning, {"sciot"})
        outcome, expected = ((each.policies | each.statics)[name] for each in (real, model))
        shares[name] = outcome.mean_ms / expected.mean_ms - 1
        figures = (f"{outcome.mean_ms:.1f}", f"{expected.mean_ms:.1f}", f"{shares[name]:+.1%}")
        rows.append((name, *figures, outcome.shares(), expected.shares()))
    title = f"Real processes and model time: {world.trace.name}, {world.setting.duration_s:g} s, device {_SLOWER:g}x"
    columns = ("policy", "real mean ms", "model time mean ms", "difference", "cuts, real", "cuts, model time")
    worst = max(shares, key=lambda name: abs(shares[name]))
    return [
        Outcome(
            "mean latency of the moving cut, real processes against model time",
            Samples("difference", "%", (abs(shares["adaptive"]),)),
            harness.limit(MODEL_LIMIT, "%"),
            1.0,
            note=f"The largest difference is {shares[worst]:+.1%}, at {worst}.",
        ),
        Table(title, columns, tuple(rows)),
    ]


def _as_it_was(choice: Choice, runs: Sequence[Told], slow_edge: float) -> Choice:
    """The choice with what its frames cost in the first of the runs that has any."""
    frames = next(found for each in runs if (found := [one for one in each.frames if one.cut == choice.id]))
    edge_s, cloud_s, wire_bytes = (
        statistics.fmean(getattr(frame, name) for frame in frames) for name in ("edge_s", "cloud_s", "wire_bytes")
    )
    return replace(choice, edge_s=edge_s / slow_edge, cloud_s=cloud_s, wire_bytes=wire_bytes)
