"""The options of `tflsplit plan` for a chain of several machines, and the plan that they ask for."""

from pathlib import Path

import click
from click.core import ParameterSource

from tflsplit import errors, quantities
from tflsplit.chains import pipeline
from tflsplit.chains.pipeline import Planned
from tflsplit.package.reading import Package
from tflsplit.planning.decision import Objective
from tflsplit.timings import profiles
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Profile

OPTIONS = (
    click.option(
        "--stage",
        "stages",
        multiple=True,
        metavar="NAME=FILE",
        help="For a chain of machines, instead of --edge and --cloud: a name for one machine and the file of its "
        "profile. Repeat it for each machine, beginning with the one at the camera.",
    ),
    click.option(
        "--hop",
        "hops",
        multiple=True,
        metavar="FILE|NAME",
        help="For a chain: the link between one stage and the next, written as for --link. Repeat it for each link. "
        "Default: --link for all.",
    ),
    click.option(
        "--pin",
        "pins",
        multiple=True,
        metavar="STAGE=LAYER",
        help="For a chain: the operator that ends at LAYER must run on STAGE. Repeatable.",
    ),
    click.option(
        "--memory",
        multiple=True,
        metavar="STAGE=SIZE",
        help="For a chain: the most bytes of weights that STAGE can hold, as tpu=8M. Repeatable. Default: no limit.",
    ),
    click.option(
        "--pieces",
        type=click.Path(path_type=Path),
        help="For a chain: write placement.json and each stage's piece to this folder, as `tflsplit distribute -o`.",
    ),
    click.option("--use-all", "uses_all", is_flag=True, help="For a chain: every stage must run a part of the model."),
)
# The other options of `plan` that also hold for a chain.
_TAKEN = {
    *("pkg", "stages", "hops", "pins", "memory", "uses_all", "objective", "fps", "link", "bandwidth", "rtt", "loss"),
    *("destination", "report", "pieces", "replaces_existing", "is_json"),
}
ONLY = ("hops", "pins", "memory", "uses_all", "pieces")


def check_options(context: click.Context, *, is_chain: bool) -> None:
    """SettingsError for an option on the command line that would have no effect."""
    typed = {
        parameter.name: parameter.opts[0]
        for parameter in context.command.params
        if parameter.name and context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    }
    if is_chain and (unused := [option for name, option in typed.items() if name not in _TAKEN]):
        raise errors.SettingsError(f"a chain of --stage is planned without {', '.join(unused)}; leave it out")
    if not is_chain and (unused := [typed[name] for name in ONLY if name in typed]):
        raise errors.SettingsError(f"{', '.join(unused)}: for a chain; name its machines with --stage")


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
    bounds = tuple((stage, float(quantities.parse_bytes(text, "memory"))) for stage, text in map(_named, memory))
    goal = pipeline.Goal(Objective(objective), uses_all, pinned, bounds, fps)
    return pipeline.make(package, named, hops, goal)


def _stage(text: str, package: Package) -> tuple[str, Profile]:
    name, file = _named(text)
    profile = profiles.read(Path(file))
    ids = [cut.id for cut in package.cuts]
    profiles.check_fits(profile, package.digest, profile.side, ids, path=Path(file))
    return name, profile


def _named(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise errors.SettingsError(f"{text!r}: write NAME=VALUE, as edge=pi.json")
    return name, value
