"""`tflsplit doctor`: the checks of this machine for each role, without which the role cannot work, and the remedies."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import extras, installation, text
from tflsplit.cli.options import connection
from tflsplit.cli.output import examples, screen
from tflsplit.confinement import rights
from tflsplit.findings import Finding, State
from tflsplit.values.classes import dataclass, replace

if TYPE_CHECKING:  # it needs numpy, which may be what is missing
    from tflsplit.kernels.classes import KernelClass

ROLES = ("edge", "cloud", "convert")
# Looked at where it is asked for: most machines run none.
_BROKER = "broker"

# An edge runs heads from their files with any interpreter. Only slicing needs LiteRT, for its schema; but a LiteRT that
# is not supported is wrong there too.
_REPLACEABLE_AT_THE_EDGE = installation.LITERT

# Of what is said about a broker: it is slow, it will be trouble some day, or a secret is none.
_GOES_WITHOUT = {"broker round trip", "broker certificate", "key"}

# Where details and remedies begin that have a line of their own, and the room that makes them have one.
_MARGIN, _FEWEST_COLUMNS = " " * 10, 24

_COLOURS = {
    State.OK: "green",
    State.CAUTION: "yellow",
    State.MISSING: "yellow",
    State.WRONG: "red",
    State.INFO: "blue",
}


@click.command(
    epilog=examples.epilog(
        "tflsplit doctor",
        "tflsplit doctor --role edge --broker mqtt://localhost",
        "tflsplit doctor --role broker --deployment-folder /etc/tflsplit/broker",
    )
)
@click.option(
    "--role",
    type=click.Choice((*ROLES, _BROKER)),
    help="What this machine is used for. Default: check for every role but broker.",
)
@click.option(
    "--deployment-folder",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --role broker: the folder that `tflsplit broker init` made. Default: look at the machine only.",
)
@connection.broker_options
@click.option("--json", "is_json", is_flag=True, help="Print the findings as JSON.")
def command(role: str | None, folder: Path | None, broker: connection.Broker, is_json: bool) -> None:
    """Check what this machine has and lacks.

    Checked are Python, libraries, interpreter, Edge TPU, clock and, if one is given, the broker and what this
    machine shows it: the dates and the name of its certificate, and who can read its key. For each problem a
    remedy is printed. Nothing is changed, no device is opened and TensorFlow is not imported. Of a broker: limit of
    open files, how its state is saved, certificates, whether it listens, and its disk.

    Exit code 1 if something that the role needs is missing or wrong. Without --role: if this machine is ready for no
    role.
    """
    if folder is not None and role != _BROKER:
        raise click.UsageError("--deployment-folder is looked at with --role broker")
    found = examine(role, broker) if role != _BROKER else _examine_broker(folder)
    if is_json:
        screen.as_json(found.as_json())
    else:
        _print(found)
    sys.exit(0 if found.is_ready else 1)


def _print(found: "Diagnosis") -> None:
    # No table of rich: it is not installed at the edge, where this is needed most.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    name_columns = max(len(finding.name) for finding in found.findings)
    for finding in found.findings:
        for line in _lines(finding, name_columns, columns):
            click.echo(line)
    click.echo(f"\n{_verdict(found)}")


def _lines(finding: Finding, name_columns: int, columns: int) -> list[str]:
    margin = " " * (len("missing") + 2 + name_columns + 2)
    if columns - len(margin) < _FEWEST_COLUMNS:  # beside the names there is no room
        margin = _MARGIN
    details = text.wrapped(text.printable(finding.detail), columns - len(margin))
    state = click.style(f"{finding.state.value:7}", fg=_COLOURS[finding.state], bold=finding.is_bad)
    first = f"{state}  {finding.name:{name_columns}}  "
    if margin == _MARGIN:
        first, details = first.rstrip(), ["", *details]
    return [first + details[0], *(margin + line for line in details[1:] if line), *_remedy(finding, columns)]


def _remedy(finding: Finding, columns: int) -> list[str]:
    """Behind an arrow. Commands are there to be pasted: they are never broken, and what is too long for its place
    begins at the margin of the terminal."""
    words = text.printable(finding.remedy)
    room = columns - len(_MARGIN)
    lines = words.splitlines() if finding.is_to_paste else text.wrapped(words, room)
    if not finding.remedy:
        return []
    if text.columns(lines[0]) > room:
        lines = ["run:", *lines]
    margins = [f"{_MARGIN[:-2]}→ ", *(_MARGIN if text.columns(line) <= room else "" for line in lines[1:])]
    return [margin + line for margin, line in zip(margins, lines, strict=False)]


def _verdict(found: "Diagnosis") -> str:
    """One line for each role that was asked about."""
    lacking = found.lacking
    return "\n".join(
        f"{role}: lacks {', '.join(names)}" if names else f"{role}: everything needed is here"
        for role, names in lacking.items()
    )


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The findings, and for each role the names of those that it cannot work without. `role` is None if all were
    checked."""

    role: str | None
    findings: tuple[Finding, ...]
    needs: Mapping[str, frozenset[str]]
    kernel_class: "KernelClass | None" = None

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
            "kernel_class": None if self.kernel_class is None else self.kernel_class.as_json(),
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
        # Of the checks for conversion the compiler is not needed.
        one: frozenset(
            finding.name
            for finding in (*core, *libraries[one], *(conversion[:1] if one == "convert" else ()), *answers)
            if finding.name not in _GOES_WITHOUT
        )
        for one in asked
    }
    each = {finding.name: finding for found in libraries.values() for finding in found}
    kernels, kernel_class = _kernels(core)
    libraries_found = [each[name] for name in sorted(each)]
    findings = (*core, *kernels, *libraries_found, *_devices(role, root), *conversion, *answers)
    return Diagnosis(role, findings, needs, kernel_class)


def _examine_broker(folder: Path | None) -> Diagnosis:
    from broker.deploy import diagnosis

    found = (installation.packages(), installation.python(), *diagnosis.findings(folder))
    return Diagnosis(_BROKER, found, {_BROKER: frozenset(each.name for each in found)})


def _kernels(core: Sequence[Finding]) -> "tuple[Sequence[Finding], KernelClass | None]":
    if any(finding.is_bad for finding in core):  # numpy or the interpreter would end us
        return (), None
    from tflsplit.kernels import diagnosis

    finding, found = diagnosis.kernel_class()
    return (finding,), found


def _libraries(role: str) -> Sequence[Finding]:
    found = [
        installation.library(wanted) for wanted in extras.requirements(role) if wanted.applies or role == "convert"
    ]
    replaceable = _REPLACEABLE_AT_THE_EDGE if role == "edge" else None
    return [finding for finding in found if finding.name != replaceable or finding.state is State.WRONG]


def _devices(role: str | None, root: Path) -> Sequence[Finding]:
    from edge_runtime.machine import edgetpu, requirements

    if role == "convert":
        return [edgetpu.pycoral()]
    if role == "cloud":
        return [requirements.clock()]
    has_coral = bool(edgetpu.usb_corals(root) or edgetpu.apexes(root))
    return [
        requirements.opencv(),
        requirements.pyav(),
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
    from broker.links import identity, reachability
    from broker.transport import credentials as transport_credentials

    where, credentials = broker.resolve()
    own = transport_credentials.open_bundle(broker.folder) if broker.folder else None
    found = [*identity.findings(credentials, own.name if own else None)]
    if own is not None and own.role == transport_credentials.Role.DEVICE.value and len(where) > 1:
        every, where = where, broker.resolve((own.deployment, own.name))[0]
        found.append(Finding("own broker", State.INFO, f"{where[0]}: of {len(every)}, by the name {own.name!r}"))
    for each in where:
        for one in reachability.probe(each, credentials=credentials, is_bound=own is not None):
            is_named = len(where) == 1 or str(each) in one.detail
            found.append(one if is_named else replace(one, detail=f"{each}: {one.detail}"))
    return found
