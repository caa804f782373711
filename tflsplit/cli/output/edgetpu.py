"""What `inspect`, `convert` and `compile` print about the Edge TPU: the operators it runs, and how heads compiled."""

import shlex
from typing import TYPE_CHECKING

from tflsplit import text
from tflsplit.api.seeing import describing
from tflsplit.cli.output import screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.package import reading
from tflsplit.package.manifest import Compilation

if TYPE_CHECKING:
    from converters.edgetpu import rules


def describe_mapping(opened: reading.Package) -> dict[str, object]:
    """The JSON of the check by rules: a verdict for each operator, and the first operator that the Edge TPU cannot run
    (None if it can run all)."""
    from converters.edgetpu import rules

    verdicts = rules.judge(opened.graph, describing.layers(opened))
    first, cut = rules.first_unmapped(verdicts), rules.tpu_cut(verdicts, opened.cuts)
    return {
        "operators": [verdict.as_json() for verdict in verdicts],
        "first_unmapped": None if first is None else first.index,
        "edgetpu_cut": None if cut is None else cut.id,
    }


def print_mapping(opened: reading.Package) -> None:
    """The check by rules as a table with a row for each operator, and a summary."""
    from converters.edgetpu import rules

    verdicts = rules.judge(opened.graph, describing.layers(opened))
    first = rules.first_unmapped(verdicts)
    rows = [
        (entry.index, entry.op, entry.version, _short(entry.layer), _verdict(entry, is_first=entry == first))
        for entry in verdicts
    ]
    columns = (
        "index",
        "operator",
        Column("version", rank=2),
        Column("layer", Kind.NAME, rank=1),
        Column("Edge TPU", Kind.NOTE),
    )
    screen.table("judged by rules, not by the compiler", columns, rows)
    print_part(opened)


def print_part(opened: reading.Package) -> None:
    """The first operators, which the Edge TPU can run, and the cut after which a head runs wholly on it."""
    from converters.edgetpu import rules

    verdicts = rules.judge(opened.graph, describing.layers(opened))
    first, cut = rules.first_unmapped(verdicts), rules.tpu_cut(verdicts, opened.cuts)
    mapped = sum(entry.maps for entry in verdicts)
    operators = text.counted(len(verdicts), "operator")
    screen.write(f"{mapped} of {operators} map, {sum(entry.is_on_tpu for entry in verdicts)} in one part")
    unconfirmed = sorted({entry.op for entry in verdicts if not entry.is_confirmed})
    if unconfirmed:
        screen.write(f"unconfirmed, for no file that Google's compiler made shows it: {', '.join(unconfirmed)}")
    if first is None:
        screen.write("all of the model maps: the Edge TPU can run any head, and the whole model (cut `output`)")
        return
    name = f"operator {first.index} ({first.op})"
    screen.write(f"{name} ends the Edge TPU's part{_mark(first)}: {first.reason}; {rules.CONSEQUENCE}")
    where = "no head runs wholly on the Edge TPU" if cut is None else f"cut there: --split-at edgetpu ({cut.id})"
    screen.write(where)


def print_compilations(opened: reading.Package) -> None:
    """How each head compiled; if any did not, how to compile it later."""
    compilations = opened.manifest.compilations
    for cut in opened.cuts:
        if cut.id in compilations:
            screen.write(f"head of {cut.id}: {in_words(compilations[cut.id])}")
    if any(compilation.status == "not compiled" for compilation in compilations.values()):
        screen.write(
            f"compile later, here or on another computer with edgetpu_compiler: tflsplit compile "
            f"{shlex.quote(str(opened.path))}"
        )


def in_words(compilation: Compilation) -> str:
    """A compilation in one line."""
    if compilation.status != "compiled":
        return f"{compilation.status}: {compilation.reason}"
    operators = text.counted(compilation.tpu_operators or 0, "operator")
    on = [f"{operators} on the Edge TPU, {compilation.cpu_operators} on the CPU"]
    if compilation.off_chip_bytes is not None:
        on.append(f"{compilation.off_chip_bytes:,} B of weights streamed at every inference")
    return f"compiled by version {compilation.compiler}: {', '.join(on)}"


def _verdict(verdict: "rules.Verdict", *, is_first: bool) -> str:
    words = f"maps{_mark(verdict)}" if verdict.maps else f"does not map{_mark(verdict)}: {verdict.reason}"
    return f"FIRST THAT {words}" if is_first else words


def _mark(verdict: "rules.Verdict") -> str:
    return "" if verdict.is_confirmed else " (unconfirmed)"


def _short(layer: str | None) -> str | None:
    """The first of the names that TensorFlow joins when it fuses layers."""
    return None if layer is None else layer.split(";")[0]
