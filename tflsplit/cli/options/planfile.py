"""The option --plan of `edge`, `cloud` and `bundle`.

A plan names its package; another package beside it is refused.
"""

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
    help="File written by `tflsplit plan -o`. It names the cut and, where PKG is left out, the package.",
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
    pkg: Path | None, plan_path: Path | None, options: Mapping[str, str | None]
) -> tuple[Package, "Plan | None", Cut]:
    """The same with the cut to run at: the plan's, or that of `--cut` in `options`, or the package's default.

    `options` are those whose values a plan has too; SettingsError if one is given beside a plan.
    """
    for option, value in options.items():
        if value and plan_path:
            raise errors.SettingsError(f"{option} {value} and --plan {plan_path} both say what is sent; give one")
    found, made = opened(pkg, plan_path)
    named = made.cut if made else options["--cut"]
    return found, made, found.cut(named) if named else found.default_cut()
