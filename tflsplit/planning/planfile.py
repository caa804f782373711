"""A plan on disk: what to run where, for which package, what was expected of it, and what came second.

This module owns the file's format. `tflsplit edge`, `cloud` and `bundle` take a plan and need nothing else to agree.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tflsplit import arguments, errors, text
from tflsplit.package.reading import Package
from tflsplit.timings.profiles import parsing, read_json
from tflsplit.values.classes import asdict, dataclass, field

SCHEMA = 1
KIND = "plan"
_PACKAGE = ("package_digest", "package_name", "package_path")

AnyPlan = TypeVar("AnyPlan")


class OfPackage(Protocol):
    """How plans of any kind name their package. `package_path` is relative to the plan's own folder."""

    @property
    def package_digest(self) -> str: ...
    @property
    def package_name(self) -> str: ...
    @property
    def package_path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """`package_path` is relative to the plan's own folder. `cut` is a cut's id; `input_codec` says how `input` travels,
    `bits` in how many bits features do (None: as they are).

    `expected` and `runner_up` are candidates as `plan --json` prints them. `devices`, `link` and `wish` (objective and
    constraints) are what the plan was made for. `candidates` are the cuts that an edge may move between and what they
    cost (`pipeline.figures`); plans of older versions have none. A frame holds `batch` inputs, of which `rate_fps` come
    in a second.
    """

    package_digest: str
    package_name: str
    package_path: str
    cut: str
    layer: str | None
    input_codec: str | None
    rate_fps: float | None
    window: int
    reason: str
    devices: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    link: Mapping[str, object] = field(default_factory=dict)
    wish: Mapping[str, object] = field(default_factory=dict)
    expected: Mapping[str, object] = field(default_factory=dict)
    runner_up: Mapping[str, object] | None = None
    break_even: Mapping[str, object] = field(default_factory=dict)
    candidates: Sequence[Mapping[str, object]] = ()
    bits: int | None = None
    batch: int = 1


def naming(package: Package, folder: Path) -> dict[str, Any]:
    """The fields by which a plan that stands in `folder` names its package."""
    place = os.path.relpath(package.path, folder)
    if not text.is_utf8(place):
        raise errors.SettingsError(
            f"{package.path}: a plan cannot name it from {folder}: that path is no UTF-8; rename it, or write the plan "
            "beside the package"
        )
    values = package.digest, package.manifest.name, place
    return dict(zip(_PACKAGE, values, strict=True))


def render(plan: Plan) -> str:
    return render_fields(KIND, asdict(plan))


def render_fields(kind: str, fields: Mapping[str, object]) -> str:
    """The file of a plan of any kind."""
    return json.dumps({"schema": SCHEMA, "kind": kind, **fields}, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> Plan:
    """Raises DataError for a file that is no plan, of another schema, or damaged."""
    return read_as(path, KIND, Plan.__slots__, ("cut",), _checked, lacking={"candidates": (), "bits": None, "batch": 1})


def read_as(
    path: Path,
    kind: str,
    names: Iterable[str],
    texts: Sequence[str],
    make: Callable[[dict[str, Any]], AnyPlan],
    *,
    lacking: Mapping[str, object] | None = None,
    command: str = "plan",
) -> AnyPlan:
    """A plan of any kind: `make` gets the fields with these names, of which `texts` and the package's are strings.
    Fields of `lacking` have that value in plans of older versions. `command` is what writes such plans."""
    fields = {**(lacking or {}), **read_json(path, kind, SCHEMA)}
    with parsing(path, kind, command):
        known = {name: fields[name] for name in names}
        for name in (*_PACKAGE, *texts):
            if not isinstance(known[name], str):
                raise TypeError(f"{name} is {known[name]!r}")
        _check_path(known["package_path"])
        return make(known)


def _check_path(text: str) -> None:
    """It may climb, since the package may stand anywhere beside the plan; it cannot name a place of the machine."""
    if arguments.path(text, "package_path").is_absolute():
        raise ValueError(f"package_path is {text!r}, expected a path from the plan's own folder")


def check_fits(plan: OfPackage, digest: str, *, path: Path) -> None:
    """DataError unless the plan is of the package with this digest."""
    if plan.package_digest != digest:
        raise errors.DataError(
            f"{path}: a plan for package {plan.package_digest[:16]} ({plan.package_name}), this one is {digest[:16]}; "
            "plan again, or give the package it was made for"
        )


def package_of(plan: OfPackage, path: Path) -> Path:
    """Where the plan's package should stand; DataError where it does not."""
    found = path.parent / plan.package_path
    if not found.is_dir():
        raise errors.DataError(
            f"{path}: its package {plan.package_name} ({plan.package_digest[:16]}) is not at {found}; "
            "name the package or its bundle on the command line"
        )
    return found


def _checked(fields: dict[str, Any]) -> Plan:
    if fields["rate_fps"] is not None:
        fields["rate_fps"] = float(fields["rate_fps"])
    fields["window"] = int(fields["window"])
    fields["candidates"] = tuple(fields["candidates"])
    made = Plan(**fields)
    arguments.check_fields(made)
    return made
