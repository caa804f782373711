"""The losses of a package: against its float model where it holds one, else against the float twin of its int8 model.

The models run in a process without rights, since they may be a stranger's.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from tflsplit import errors, private_files
from tflsplit.confinement import child
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph
from tflsplit.losses import measurement, mixing, twin
from tflsplit.losses.columns import Group
from tflsplit.losses.measurement import Measured, OperatorLoss, Sample
from tflsplit.losses.mixing import Mixed
from tflsplit.package.reading import FLOAT_MODEL, MODEL, Package
from tflsplit.values.classes import asdict, dataclass

_TIMEOUT_S = 300.0  # for one step: the whole model, twice, on as many samples as fit
_MOST_BYTES = 8 << 30


class Reference(str, Enum):
    """What int8 was compared with."""

    FLOAT_MODEL = "float model"
    DEQUANTISED = "dequantised weights"


@dataclass(frozen=True, slots=True)
class Report:
    """`operators` in the model's order."""

    operators: tuple[OperatorLoss, ...]
    samples: int
    reference: Reference
    mixed: Mixed | None

    @property
    def worst_first(self) -> tuple[OperatorLoss, ...]:
        """By what each adds by itself; those that could not be measured are left out."""
        told = [each for each in self.operators if not each.reason or each.run_db is not None]
        return tuple(sorted(told, key=lambda each: (each.least_db, each.index)))

    @property
    def unmeasured(self) -> Mapping[str, int]:
        """How many operators could not be measured, by the reason."""
        reasons = [each.reason for each in self.operators if each.reason]
        return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}


def of_package(
    opened: Package, samples: Sequence[Sample], *, on_step: Callable[[str], None] = lambda name: None
) -> Report:
    """Measure each operator of a package on `samples`, inputs as its model stores them.

    PackageError for a bundle, which has not the whole model, and for models that cannot be run.
    """
    if MODEL not in opened.manifest.files:
        raise errors.PackageError(
            f"{opened.path}: a bundle for the {opened.manifest.role.value} side, without the whole model; look for "
            "errors in the package that it was made of"
        )
    with tempfile.TemporaryDirectory(prefix="tflsplit-") as scratch:
        file = Path(scratch) / "samples.npz"
        private_files.make_file(file)
        np.savez(file, *(np.stack(column) for column in zip(*samples, strict=True)))
        request = {
            "package": str(opened.path.resolve()),
            "samples": str(file),
            "counterparts": _counterparts(opened),
        }
        said: list[str] = []

        def hear(name: str) -> None:
            said.append(name)
            if len(said) > len(samples) * (opened.manifest.operators + 1):  # else it could go on for ever
                raise errors.PackageError(f"{opened.path}: running its models does not end; do not use this package")
            on_step(name)

        try:
            answer = child.run(
                attempt,
                request,
                folder=None,
                readable=[opened.path, file],
                on_word=hear,
                timeout_s=_TIMEOUT_S,
                most_bytes=_MOST_BYTES,
            )
        except child.CrashedError as ended:
            raise errors.PackageError(f"{opened.path}: running its models {ended}; nothing was measured") from ended
        except (errors.ModelError, errors.DeviceError) as refused:
            raise errors.PackageError(f"{opened.path}: no errors can be measured: {refused}") from refused
    measured = _measured(answer)
    reference = Reference.DEQUANTISED if request["counterparts"] is None else Reference.FLOAT_MODEL
    mixed = mixing.find(
        measured,
        opened.served_cuts,
        has_float_tails=opened.manifest.float_tails is not None,
        came_quantised=opened.manifest.calibration.kind == "model",
    )
    return Report(measured.operators, len(samples), reference, mixed)


def attempt(request: Mapping[str, Any], say: Callable[[str], None]) -> Mapping[str, Any]:
    """In the other process."""
    folder = Path(request["package"])
    model = (folder / MODEL).read_bytes()
    with np.load(request["samples"], allow_pickle=False) as archive:
        columns_of = [archive[name] for name in archive.files]
    samples = [tuple(array) for array in zip(*columns_of, strict=True)]
    if request["counterparts"] is None:
        graph = flatgraph.read(model)
        counterparts = {index: index for index in _activations(graph)}
        floating = twin.of_model(graph)
    else:
        counterparts = {int(index): int(other) for index, other in request["counterparts"]}
        floating = (folder / FLOAT_MODEL).read_bytes()
    found = measurement.measure(model, floating, counterparts, samples, on_operator=say)
    return {"operators": [asdict(each) for each in found.operators], "kept_db": list(found.kept_db.items())}


def _activations(graph: Graph) -> list[int]:
    made = (index for operator in graph.operators for index in operator.outputs)
    return [index for index in dict.fromkeys((*graph.inputs, *made)) if graph.tensors[index].spec is not None]


def _counterparts(opened: Package) -> list[tuple[int, int]] | None:
    """What the manifest tells for the boundaries of its cuts; None without a float model."""
    tails = opened.manifest.float_tails
    if tails is None:
        return None
    found: dict[int, int] = {}
    for cut in opened.cuts:
        found.update(zip(cut.tensors, tails.counterparts.get(cut.id, ()), strict=False))
    return list(found.items())


def _measured(answer: Mapping[str, Any]) -> Measured:
    operators = tuple(
        OperatorLoss(**each | {"groups": tuple(Group.from_json(group) for group in each["groups"])})
        for each in answer["operators"]
    )
    return Measured(operators, {int(index): float(value) for index, value in answer["kept_db"]})
