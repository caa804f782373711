"""A comparison of policies that ran as real processes, in the form of one in model time."""

import itertools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from broker.links.playback import Play
from edge_runtime.sources import frames
from tflsplit import arguments, errors
from tflsplit.cli.trials import replay_stage
from tflsplit.cli.trials.moving import stage
from tflsplit.cli.trials.moving.task import MOST_INPUTS, Task, Told
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package.reading import Package
from tflsplit.switching import comparison
from tflsplit.switching.choices import Choice
from tflsplit.switching.comparison import ADAPTIVE, PLANNED_STATIC, Comparison
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal
from tflsplit.switching.simulation import World

# Every cut that stays.
STATIC = "static"
# What `api.simulating.prepare` gives.
Compared = tuple[World, list[Choice], Goal, Tuning]


def wanted(said: str) -> frozenset[str]:
    """The names in `said`, with commas between them; SettingsError for one that cannot be run."""
    known = [STATIC, PLANNED_STATIC, *comparison.makers(Goal(), Tuning())]
    return frozenset(arguments.one_of(name.strip(), known, "policy") for name in said.split(","))


def run(
    package: Package,
    compared: Compared,
    names: Collection[str],
    folder: Path,
    *,
    source: Path,
    on_step: Callable[[str], None],
) -> dict[str, Told]:
    """What devices told that ran ours, the cut planned for the trace's mean rate, and what else is in `names` (see
    `wanted`), each as long as the trace; cuts that stayed are named by their ids. SettingsError where nothing can move,
    or results could not be compared with the whole model's."""
    world, choices, goal, tuning = compared
    check(package, choices)
    outputs = folder / "outputs.npz"
    write_outputs(package, source, outputs)
    stays = choices if STATIC in names else [comparison.planned_of(world, choices)]
    moves = [name for name in comparison.makers(goal, tuning) if name == ADAPTIVE or name in names]
    told: dict[str, Told] = {}
    with stage.stage(package, Play(world.trace, world.setting.rtt_s), folder) as running:
        for policy in [*moves, *(each.id for each in stays)]:
            on_step(f"run {policy}")
            task = Task(
                package=str(package.path.resolve()),
                choices=tuple(choices),
                usual=comparison.usual_of(world),
                policy=policy,
                objective=goal.wish.value,
                has_probes=tuning.probing is not None,
                slow_edge=world.setting.slow_edge,
                fps=world.setting.fps,
                seconds=world.setting.duration_s or world.trace.duration_s,
                source=str(source),
                outputs=str(outputs),
                deployment=replay_stage.DEPLOYMENT,
                device=f"edge-{len(told)}",
                hedge=tuning.hedge,
            )
            told[policy] = running.run(task)
    return told


def comparison_of(compared: Compared, told: Mapping[str, Told]) -> Comparison:
    """Of what `run` gave."""
    world, choices, goal, _ = compared
    by_id = {each.id: each for each in choices}
    runs = {policy: one.as_run(by_id) for policy, one in told.items()}
    return comparison.of_runs(
        *(world, choices, goal),
        {name: run for name, run in runs.items() if name in by_id},
        {name: run for name, run in runs.items() if name not in by_id},
        switches=told[ADAPTIVE].switches,
        is_real=True,
    )


def check(package: Package, choices: list[Choice]) -> None:
    """SettingsError for what would be refused after minutes of measuring."""
    comparison.check(choices)
    if package.manifest.results != package.manifest.outputs:
        raise errors.SettingsError(
            f"{package.path}: its tails compute in float32, so that results are not the whole model's; convert it with "
            "--tail int8"
        )


def write_outputs(package: Package, source: Path, path: Path) -> None:
    """What the whole model makes of the inputs of `source`, for `Task.outputs`."""
    with Interpreter(package.model_bytes()) as whole:
        given = frames.open_source(source, package.manifest)
        rows = [whole.run(*each.arrays) for each in itertools.islice(given.inputs(), MOST_INPUTS)]
        given.close()
    if not rows:
        raise errors.DataError(f"source {source}: holds no inputs")
    np.savez(path, *(np.stack(column) for column in zip(*rows, strict=True)))
