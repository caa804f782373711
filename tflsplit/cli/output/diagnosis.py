"""Which checks of this machine belong to which role, and which of them the role cannot do without."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tflsplit import installation
from tflsplit.cli.options import connection
from tflsplit.findings import Finding, State

ROLES = ("edge", "cloud", "convert")

# Heads run from their own files, on whichever interpreter there is; whoever slices needs LiteRT for its schema.
_REPLACEABLE_AT_THE_EDGE = installation.LITERT


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """`needed` are the names of those findings that must not be bad; `role` is None where any role was asked about."""

    role: str | None
    findings: tuple[Finding, ...]
    needed: frozenset[str]

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.is_bad and finding.name in self.needed)

    def as_json(self) -> dict[str, object]:
        return {
            "role": self.role,
            "ready": not self.obstacles,
            "findings": [finding.as_json() | {"needed": finding.name in self.needed} for finding in self.findings],
        }


def examine(role: str | None, broker: connection.Broker | None = None, *, root: Path = Path("/")) -> Diagnosis:
    """Checks what `role` is about, or everything; where other packages hide ours, only that."""
    ours = installation.packages()
    if ours.is_bad:
        return Diagnosis(role, (ours,), frozenset({ours.name}))
    core = [ours, installation.python(), installation.numpy(), installation.interpreter()]
    libraries = _libraries(role)
    conversion = _conversion(role)
    answers = _broker(broker)
    # Of the conversion's the compiler is no need, of the broker's the speed.
    needed = (*core, *(libraries if role else ()), *(conversion[:1] if role else ()), *answers[:1])
    findings = (*core, *libraries, *_devices(role, root), *conversion, *answers)
    return Diagnosis(role, findings, frozenset(finding.name for finding in needed))


def _libraries(role: str | None) -> Sequence[Finding]:
    wanted = {
        requirement.distribution: requirement
        for extra in ([role] if role else ROLES)
        for requirement in installation.requirements(extra)
        if (role, requirement.distribution) != ("edge", _REPLACEABLE_AT_THE_EDGE)
    }
    return [installation.library(wanted[name]) for name in sorted(wanted)]


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

    return [environment.keras_fits(), environment.compiler()]


def _broker(broker: connection.Broker | None) -> Sequence[Finding]:
    if broker is None or not broker.is_given:
        return []
    for library in ("numpy", "paho-mqtt"):  # else the import below would end us
        if installation.version_of(library) is None:
            return [
                Finding("broker", State.MISSING, f"not tried: {library} is not installed", f"pip install {library}")
            ]
    from broker.links import reachability

    where, credentials = broker.resolve()
    return reachability.probe(where, credentials=credentials)
