"""What a plan fixes: the package, its cut, and how an edge sends. Plans are files, or what `tflsplit.plan` returned."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tflsplit import arguments
from tflsplit.arguments import PathLike
from tflsplit.coding import input_codec
from tflsplit.package import reading
from tflsplit.package.reading import Package

if TYPE_CHECKING:  # an edge that runs without a plan starts without the planner's modules
    from tflsplit.chains.planfile import ChainPlan
    from tflsplit.planning.pipeline import Outcome
    from tflsplit.planning.planfile import Plan


def of(given: "PathLike | Outcome", package: Package) -> "Plan":
    """The plan of a package; DataError for another package's, SettingsError where nothing was picked."""
    from tflsplit.planning import pipeline, planfile

    if not isinstance(given, pipeline.Outcome):
        path = arguments.path(given, "plan")
        made = _read(path)
    else:
        path = Path("plan")
        made = pipeline.plan_of(given, package.path)
    planfile.check_fits(made, package.digest, path=path)
    return made


def _read(path: Path) -> "Plan":
    from tflsplit.chains import planfile as chains_planfile
    from tflsplit.planning import planfile as planning_planfile

    is_chain = chains_planfile.is_one(path)
    return chains_planfile.read(path).as_plan() if is_chain else planning_planfile.read(path)


def with_plan(pkg: Path | None, plan_path: Path) -> tuple[Package, "Plan"]:
    """The package and the plan of a file; SettingsError for a chain's plan that needs more than two machines."""
    made = _read(plan_path)
    return package_of(pkg, made, plan_path), made


def package_of(pkg: Path | None, made: "Plan | ChainPlan", plan_path: Path) -> Package:
    """PKG, or else the one that the plan names; DataError for any but the plan's."""
    from tflsplit.planning import planfile as planning_planfile

    found = reading.open_package(pkg or planning_planfile.package_of(made, plan_path))
    planning_planfile.check_fits(made, found.digest, path=plan_path)
    return found


def settings(made: "Plan | None") -> dict[str, Any]:
    """An edge's settings that a plan fixes; SettingsError for an input codec that is none."""
    if made is None:
        return {}
    fields: dict[str, Any] = {"window": made.window}
    if made.rate_fps is not None:
        fields["rate_fps"] = made.rate_fps
    if made.input_codec is not None:
        fields["input_codec"] = input_codec.parse(made.input_codec)
    if made.bits is not None:
        fields["bits"] = made.bits
    if made.batch > 1:
        fields["batch"] = made.batch
    return fields
