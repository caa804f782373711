"""`tflsplit plan --stage …`: several machines in a row."""

from pathlib import Path

import click

from tflsplit import chaining, chainplan, chainplanning, errors, measurements
from tflsplit.chainplanning import Planned
from tflsplit.cli import output, target
from tflsplit.links import Link
from tflsplit.measurements import Profile
from tflsplit.package import Package
from tflsplit.planner import Objective


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
    wish = chainplanning.Wish(Objective(objective), uses_all, pinned, bounds, fps)
    return chainplanning.make(package, named, hops, wish)


def put_out(planned: Planned, destination: Path | None, report: Path | None, *, is_json: bool) -> None:
    if is_json:
        output.as_json(planned.as_json())
    else:
        _print(planned)
    if report is not None:
        from tflsplit.report import chainpage

        target.write_whole(report, chainpage.render(planned))
    if destination is not None:
        target.write_whole(destination, chainplan.render(chainplanning.plan_of(planned, destination.parent)))


def _stage(text: str, package: Package) -> tuple[str, Profile]:
    name, file = _named(text)
    profile = measurements.read(Path(file))
    ids = [cut.id for cut in package.cuts]
    measurements.check_fits(profile, package.digest, profile.side, ids, path=Path(file))
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
        (name, f"{found.latency_s * 1e3:.2f}", f"{found.slowest_s * 1e3:.2f}", chaining.shares(outcome.chain, found))
        for name, found in outcome.told.items()
    ]
    title = f"{planned.package.manifest.name} over {' → '.join(planned.machines)}; {outcome.aim}"
    output.table(title, ("", "latency ms", "slowest stage ms", "pieces"), rows)
    click.echo(chaining.reason(outcome))
    for name, gain in outcome.gains.items():
        words = gain.told() if gain else "no one stage can run the whole model"
        click.echo(f"{name}: {words}")
