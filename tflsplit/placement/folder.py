"""What `tflsplit distribute` wrote, opened: one folder that every machine of the placement takes.

placement.json          `tflsplit.placement.planfile` owns its format
package.tflsplit        the whole model, of which pieces for other placements are made when a machine is lost
MACHINE/stageNN.tflite  the pieces of each machine
"""

import hashlib
from pathlib import Path

from tflsplit import arguments, errors, text
from tflsplit.arguments import PathLike
from tflsplit.package import reading
from tflsplit.package.reading import Package
from tflsplit.placement import planfile
from tflsplit.placement.planfile import PlacementPlan
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.pieces import Piece
from tflsplit.values.classes import dataclass

PLAN_NAME = "placement.json"
PACKAGE_NAME = "package.tflsplit"


@dataclass(frozen=True, slots=True)
class Shared:
    """`digest` is the placement's and its package's; machines have to have the same."""

    path: Path
    plan: PlacementPlan
    package: Package

    @property
    def digest(self) -> str:
        return self.plan.digest

    def machine(self, name: str) -> int:
        """Its number. SettingsError for a name that is none of the placement's machines."""
        if name not in self.plan.machines:
            known = self.plan.machines
            raise errors.SettingsError(
                f"{self.path}: no machine {name!r} in this placement; there are {', '.join(known)}"
                f"{text.meant(name, known)}"
            )
        return self.plan.machines.index(name)

    def piece(self, machine: int, step: int, piece: Piece) -> Path:
        """The file of a piece of the plan. PackageError if it is missing or was changed."""
        name = f"{self.plan.machines[machine]}/{pieces.file_name(step, piece)}"
        path = self.path / name
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as cause:
            raise errors.PackageError(f"{path}: cannot be read ({cause.strerror}); copy the folder again") from cause
        if found != self.plan.files.get(name):
            raise errors.PackageError(
                f"{path}: was changed after it was written (SHA-256 differs from {PLAN_NAME}); copy the folder again"
            )
        return path


def open_folder(path: PathLike) -> Shared:
    """DataError or PackageError for a folder that is none, was changed, or is of two different packages."""
    path = arguments.path(path, "bundle")
    if not (path / PLAN_NAME).is_file():
        raise errors.DataError(f"{path}: no {PLAN_NAME} in it; make such a folder with `tflsplit distribute -o DIR`")
    plan, package = planfile.read(path / PLAN_NAME), reading.open_package(path / PACKAGE_NAME)
    if plan.package_digest != package.digest:
        raise errors.PackageError(
            f"{path}: {PLAN_NAME} is for package {plan.package_digest[:16]} ({plan.package_name}), {PACKAGE_NAME} is "
            f"{package.digest[:16]}; copy the folder again"
        )
    return Shared(path, plan, package)
