"""What `edge`, `cloud` and `bundle` do with --plan: find its package, and refuse another."""

from pathlib import Path

import click

from tflsplit import errors, package, plan
from tflsplit.package import Package
from tflsplit.plan import Plan

argument = click.argument("pkg", type=click.Path(path_type=Path), required=False)
option = click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path),
    help="File of `tflsplit plan`; without PKG its package is taken from where it was.",
)


def opened(pkg: Path | None, plan_path: Path | None) -> tuple[Package, Plan | None]:
    """The package to run, and the plan if there is one; DataError if they do not belong together."""
    if plan_path is not None:
        return with_plan(pkg, plan_path)
    if pkg is None:
        raise click.UsageError("Missing argument 'PKG': give the package, or a plan of it with --plan.")
    return package.open_package(pkg), None


def with_plan(pkg: Path | None, plan_path: Path) -> tuple[Package, Plan]:
    made = plan.read(plan_path)
    found = package.open_package(pkg or plan.package_of(made, plan_path))
    plan.check_fits(made, found.digest, path=plan_path)
    return found, made


def settings(made: Plan | None) -> dict[str, object]:
    """An edge's settings that a plan fixes; SettingsError for a plan that an edge cannot run."""
    if made is None:
        return {}
    if made.input_codec not in (None, "int8"):
        raise errors.SettingsError(
            f"the plan sends the input as {made.input_codec}, this edge sends int8 only; plan with --input-codecs int8"
        )
    return {"window": made.window} | ({} if made.rate_fps is None else {"rate_fps": made.rate_fps})
