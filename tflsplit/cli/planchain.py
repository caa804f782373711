"""`tflsplit plan --stage …`: several machines in a row."""

from pathlib import Path

import click

from tflsplit import chain, chaining, errors, machines, measurements
from tflsplit.cli import output
from tflsplit.links import Link
from tflsplit.measurements import Profile
from tflsplit.package import Package
from tflsplit.planner import Objective

OPTIONS = (
    click.option(
        "--stage",
        "stages",
        multiple=True,
        metavar="NAME=FILE",
        help="A machine of a chain and its profile, instead of --edge and --cloud; repeated, the camera's first.",
    ),
    click.option(
        "--hop", "hops", multiple=True, metavar="FILE|NAME", help="The link after each stage. Default: --link for all."
    ),
    click.option(
        "--pin", "pins", multiple=True, metavar="STAGE=LAYER", help="What ends at this layer must run on this stage."
    ),
    click.option("--use-all", "uses_all", is_flag=True, help="Leave no stage of the chain out."),
)


# The other options that `plan` takes.
NAMES = ("pins", "uses_all", "objective")


def plan(
    package: Package,
    stages: tuple[str, ...],
    hops: tuple[Link, ...],
    *,
    pins: tuple[str, ...],
    uses_all: bool,
    objective: str,
    is_json: bool,
) -> None:
    named = dict(_stage(text, package) for text in stages)
    if len(named) != len(stages):
        raise errors.SettingsError(f"stages {', '.join(stages)}: each needs a name of its own")
    made = machines.chain_of(package.cuts, named, hops, package.manifest.compilations)
    pinned = dict(chaining.pin(made, package.cut(layer).id, stage) for stage, layer in map(_named, pins))
    outcome = chaining.make(made, Objective(objective), chain.Terms(uses_all=uses_all, pins=pinned))
    if is_json:
        output.as_json({"package": package.digest} | outcome.as_json())
    else:
        _print(outcome)


def _stage(text: str, package: Package) -> tuple[str, Profile]:
    name, file = _named(text)
    profile = measurements.read(Path(file))
    ids = [cut.id for cut in package.cuts]
    measurements.check_fits(profile, package.digest, profile.side, ids, path=Path(file))
    return name, profile


def _named(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise errors.SettingsError(f"{text!r}: write NAME=VALUE, as edge=pi.json")
    return name, value


def _print(outcome: chaining.Outcome) -> None:
    told = {"pick": outcome.found[0]} | dict(outcome.rivals)
    told |= {f"runner-up {place}": found for place, found in enumerate(outcome.found[1:], start=1)}
    names, places = [stage.name for stage in outcome.chain.stages], outcome.chain.places
    rows = [
        (
            name,
            f"{found.latency_s * 1e3:.2f}",
            f"{found.slowest_s * 1e3:.2f}",
            ", ".join(f"{names[piece.stage]}: {places[piece.start]}-{places[piece.stop]}" for piece in found.pieces),
        )
        for name, found in told.items()
    ]
    output.table(f"least {outcome.objective.value}", ("", "latency ms", "slowest ms", "pieces"), rows)
    for name, gain in outcome.gains.items():
        if gain is None:
            click.echo(f"{name}: no one stage can run the whole model")
        else:
            click.echo(f"{name}: {gain.told()}")
