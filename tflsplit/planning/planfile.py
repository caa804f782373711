"""A plan on disk: what to run where, for which package, what was expected of it, and what came second.

This module owns the file's format. `tflsplit edge`, `cloud` and `bundle` take a plan and need nothing else to agree.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tflsplit import errors
from tflsplit.timings.profiles import read_json

SCHEMA = 1
KIND = "plan"


class OfPackage(Protocol):
    """What plans of any kind say of their package. `package_path` is relative to the plan's own folder."""

    @property
    def package_digest(self) -> str: ...
    @property
    def package_name(self) -> str: ...
    @property
    def package_path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """`package_path` is relative to the plan's own folder. `cut` is a cut's id; `input_codec` says how `input` travels.

    `expected` and `runner_up` are candidates as `plan --json` prints them; `devices`, `link` and `wish` say for what.
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


def render(plan: Plan) -> str:
    fields: dict[str, object] = {"schema": SCHEMA, "kind": KIND}
    fields |= {slot: getattr(plan, slot) for slot in Plan.__slots__}
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> Plan:
    """Raises DataError for a file that is no plan, of another schema, or damaged."""
    fields = read_json(path, KIND, SCHEMA)
    try:
        known = {slot: fields[slot] for slot in Plan.__slots__}
        return _checked(known)
    except (KeyError, ValueError, TypeError) as cause:
        raise errors.DataError(f"{path}: damaged plan ({cause!r}); run `tflsplit plan` again") from cause


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
    for name in ("package_digest", "package_name", "package_path", "cut"):
        if not isinstance(fields[name], str):
            raise TypeError(f"{name} is {fields[name]!r}")
    if not isinstance(fields["input_codec"], str | None):
        raise TypeError(f"input_codec is {fields['input_codec']!r}")
    if fields["rate_fps"] is not None:
        fields["rate_fps"] = float(fields["rate_fps"])
    fields["window"] = int(fields["window"])
    return Plan(**fields)
