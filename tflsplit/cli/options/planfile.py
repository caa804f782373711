"""What `edge`, `cloud` and `bundle` do with --plan: find its package, and refuse another."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors
from tflsplit.api import planfile
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge that runs without a plan starts without the planner's modules
    from tflsplit.planning.planfile import Plan

argument = click.argument("pkg", type=click.Path(path_type=Path), required=False)
option = click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path),
    help="File of `tflsplit plan`; without PKG its package is taken from where it was.",
)


def opened(pkg: Path | None, plan_path: Path | None) -> tuple[Package, "Plan | None"]:
    """The package to run, and the plan if there is one; DataError if they do not belong together.

    SettingsError for a chain's plan that needs more than two machines.
    """
    if plan_path is not None:
        return planfile.with_plan(pkg, plan_path)
    if pkg is None:
        raise click.UsageError("Missing argument 'PKG': give the package, or a plan of it with --plan.")
    return reading.open_package(pkg), None


def opened_at(
    pkg: Path | None, plan_path: Path | None, said: Mapping[str, str | None]
) -> tuple[Package, "Plan | None", Cut]:
    """The same with the cut to run at: the plan's, or that of `--cut` in `said`, or the package's own choice.

    `said` are the options that speak of what a plan fixes; SettingsError for one beside a plan.
    """
    for option, value in said.items():
        if value and plan_path:
            raise errors.SettingsError(f"{option} {value} and --plan {plan_path} both say what is sent; give one")
    found, made = opened(pkg, plan_path)
    named = made.cut if made else said["--cut"]
    return found, made, found.cut(named) if named else found.default_cut()
