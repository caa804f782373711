"""Prints where int8 loses: the errors of a model's operators, worst first."""

from typing import Any

from tflsplit import errors, text
from tflsplit.api import packages
from tflsplit.cli.output import screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.losses import reference
from tflsplit.losses.reference import Reference, Report
from tflsplit.package import golden
from tflsplit.package.reading import Package
from tflsplit.values.classes import asdict

OWN_SAMPLES = "golden"  # the word for --errors without samples
_RANDOM = 8

_AGAINST = {
    Reference.FLOAT_MODEL: "the float model",
    Reference.DEQUANTISED: "the same operators in float on the int8 weights, so what rounding the weights costs is not "
    "in it (convert with --tail float32 to have it)",
}


def measured(opened: Package, samples: str) -> tuple[Report, str]:
    """The losses of a package on samples as `verify` takes them, and what these are: without any its golden samples,
    else random inputs."""
    kept = golden.read(opened, opened.cut("output")) if samples == OWN_SAMPLES else None
    if kept is not None:
        inputs, origin = [given for given, _ in kept.samples], "golden samples of the package"
    else:
        words = str(_RANDOM) if samples == OWN_SAMPLES else samples
        inputs = list(packages.inputs_of(opened, words))
        origin = "random inputs, which say little" if words.isdecimal() else f"samples from {words}"
    if not inputs:
        raise errors.DataError(f"{samples}: holds no sample; give some to measure errors on")
    with screen.progress("measure errors", None) as step:
        return reference.of_package(opened, inputs, on_step=lambda name: step(description=name)), origin


def describe(opened: Package, report: Report, origin: str) -> dict[str, Any]:
    layers = _layers(opened)
    return {
        "against": report.reference.value,
        "samples": report.samples,
        "samples_are": origin,
        "operators": [asdict(each) | {"layer": layers.get(each.index)} for each in report.worst_first],
        "unmeasured": dict(report.unmeasured),
        "mixed": None if report.mixed is None else asdict(report.mixed),
    }


def show(opened: Package, report: Report, origin: str) -> None:
    layers = _layers(opened)
    rows: list[tuple[object, ...]] = [
        (
            each.index,
            each.name,
            layers.get(each.index) or each.tensor,
            _decibels(each.alone_db),
            _decibels(each.run_db),
            "; ".join(map(str, each.groups)),
        )
        for each in report.worst_first
    ]
    columns: tuple[Column | str, ...] = (
        "op",
        Column("kind", rank=3),
        Column("layer or tensor", Kind.NAME, rank=1),
        "alone dB",
        Column("in the run dB", rank=2),
        Column("columns apart", Kind.NOTE, rank=4),
    )
    if not any(each.groups for each in report.worst_first):
        rows, columns = [row[:-1] for row in rows], columns[:-1]
    screen.table(f"{opened.manifest.name}: SQNR of each operator against float, worst first", columns, rows)
    screen.write(
        f"measured on {text.counted(report.samples, 'sample')} ({origin}) against {_AGAINST[report.reference]}\n"
        "alone: the operator by itself in int8, on float inputs that are rounded to int8; in the run: with all errors "
        "before it. Both against what varies"
    )
    for reason, count in report.unmeasured.items():
        screen.write(f"not measured: {text.counted(count, 'operator')}: {reason}")
    if report.mixed is not None:
        screen.write(str(report.mixed))


def _layers(opened: Package) -> dict[int, str | None]:
    return {cut.after_operator: cut.layer for cut in opened.cuts}


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
