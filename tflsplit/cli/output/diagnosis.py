"""The checks of this machine for each role, and those without which the role cannot work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tflsplit import extras, installation
from tflsplit.cli.options import connection
from tflsplit.confinement import rights
from tflsplit.findings import Finding, State

ROLES = ("edge", "cloud", "convert")

# An edge runs heads from their files with any interpreter. Only slicing needs LiteRT, for its schema.
_REPLACEABLE_AT_THE_EDGE = installation.LITERT


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings, and for each role the names of those that it cannot work without. `role` is None if all were
    checked."""

    role: str | None
    findings: tuple[Finding, ...]
    needs: Mapping[str, frozenset[str]]

    @property
    def lacking(self) -> dict[str, tuple[str, ...]]:
        """For each role the names of what it needs and what is missing or wrong here."""
        bad = [finding.name for finding in self.findings if finding.is_bad]
        return {role: tuple(name for name in bad if name in needed) for role, needed in self.needs.items()}

    @property
    def is_ready(self) -> bool:
        """Whether this machine is ready for the role that was checked; if all were, for any of them."""
        return not all(self.lacking.values())

    def as_json(self) -> dict[str, object]:
        needed = frozenset().union(*self.needs.values())
        return {
            "role": self.role,
            "ready": self.is_ready,
            "lacking": {role: list(names) for role, names in self.lacking.items()},
            "findings": [finding.as_json() | {"needed": finding.name in needed} for finding in self.findings],
        }


def examine(role: str | None, broker: connection.Broker | None = None, *, root: Path = Path("/")) -> Diagnosis:
    """Makes the checks of `role`, or of all roles. If other packages hide ours, only that is found."""
    ours = installation.packages()
    asked = (role,) if role else ROLES
    if ours.is_bad:
        return Diagnosis(role, (ours,), dict.fromkeys(asked, frozenset({ours.name})))
    core = [ours, installation.python(), installation.numpy(), installation.interpreter()]
    libraries = {one: _libraries(one) for one in asked}
    conversion = _conversion(role)
    answers = _broker(broker)
    needs = {
        # Of the checks for conversion the compiler is not needed, and of those of the broker its speed.
        one: frozenset(
            finding.name
            for finding in (*core, *libraries[one], *(conversion[:1] if one == "convert" else ()), *answers[:1])
        )
        for one in asked
    }
    each = {finding.name: finding for found in libraries.values() for finding in found}
    findings = (*core, *(each[name] for name in sorted(each)), *_devices(role, root), *conversion, *answers)
    return Diagnosis(role, findings, needs)


def _libraries(role: str) -> Sequence[Finding]:
    return [
        installation.library(wanted)
        for wanted in extras.requirements(role)
        if (wanted.applies or role == "convert") and (role, wanted.distribution) != ("edge", _REPLACEABLE_AT_THE_EDGE)
    ]


def _devices(role: str | None, root: Path) -> Sequence[Finding]:
    from edge_runtime.machine import edgetpu, requirements

    if role == "convert":
        return [edgetpu.pycoral()]
    if role == "cloud":
        return [requirements.clock()]
    has_coral = bool(edgetpu.usb_corals(root) or edgetpu.apexes(root))
    return [
        requirements.opencv(),
        requirements.clock(),
        requirements.power(root),
        edgetpu.usb(root),
        edgetpu.udev_rule(root),
        edgetpu.pcie(root),
        edgetpu.library(is_wanted=has_coral),
        edgetpu.pycoral(),
    ]


def _conversion(role: str | None) -> Sequence[Finding]:
    if role not in (None, "convert"):
        return []
    from converters.loading import environment

    return [environment.keras_fits(), environment.compiler(), rights.finding()]


def _broker(broker: connection.Broker | None) -> Sequence[Finding]:
    if broker is None or not broker.is_given:
        return []
    for library in ("numpy", "paho-mqtt"):  # else the import below would end us
        if extras.version_of(library) is None:
            return [
                Finding("broker", State.MISSING, f"not tried: {library} is not installed", f"pip install {library}")
            ]
    from broker.links import reachability

    where, credentials = broker.resolve()
    return reachability.probe(where, credentials=credentials)
