"""`tflsplit plan --stage …`: several machines in a row."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.api import files
from tflsplit.chains import comparison, pipeline, planfile
from tflsplit.chains.pipeline import Planned
from tflsplit.cli.output import screen
from tflsplit.package.reading import Package
from tflsplit.planning.decision import Objective
from tflsplit.timings import profiles
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Profile


def plan(
    package: Package,
    stages: tuple[str, ...],
    hops: tuple[Link, ...],
    *,
    pins: tuple[str, ...],
    memory: tuple[str, ...],
    uses_all: bool,
    objective: str,
    fps: float | None,
) -> Planned:
    named = dict(_stage(text, package) for text in stages)
    if len(named) != len(stages):
        raise errors.SettingsError(f"stages {', '.join(stages)}: each needs a name of its own")
    pinned = tuple((stage, package.cut(layer).id) for stage, layer in map(_named, pins))
    bounds = tuple((stage, _bytes(text)) for stage, text in map(_named, memory))
    goal = pipeline.Goal(Objective(objective), uses_all, pinned, bounds, fps)
    return pipeline.make(package, named, hops, goal)


def put_out(planned: Planned, destination: Path | None, report: Path | None, *, is_json: bool) -> None:
    if is_json:
        screen.as_json(planned.as_json())
    else:
        _print(planned)
    if report is not None:
        from tflsplit.report.chain import page

        files.write_whole(report, page.render(planned))
    if destination is not None:
        files.write_whole(destination, planfile.render(pipeline.plan_of(planned, destination.parent)))


def _stage(text: str, package: Package) -> tuple[str, Profile]:
    name, file = _named(text)
    profile = profiles.read(Path(file))
    ids = [cut.id for cut in package.cuts]
    profiles.check_fits(profile, package.digest, profile.side, ids, path=Path(file))
    return name, profile


def _bytes(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise errors.SettingsError(f"--memory {text!r}: write a number of bytes, as tpu=8e6") from None


def _named(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise errors.SettingsError(f"{text!r}: write NAME=VALUE, as edge=pi.json")
    return name, value


def _print(planned: Planned) -> None:
    outcome = planned.outcome
    rows = [
        (name, f"{found.latency_s * 1e3:.2f}", f"{found.slowest_s * 1e3:.2f}", comparison.shares(outcome.chain, found))
        for name, found in outcome.shown.items()
    ]
    title = f"{planned.package.manifest.name} over {' → '.join(planned.machines)}; {outcome.aim}"
    screen.table(title, ("", "latency ms", "slowest stage ms", "pieces"), rows)
    click.echo(comparison.reason(outcome))
    for name, gain in outcome.gains.items():
        words = gain.text() if gain else "no one stage can run the whole model"
        click.echo(f"{name}: {words}")
