"""`tflsplit verify`: the proof that cuts change no result."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import text
from tflsplit.api import files, packages
from tflsplit.cli import cut_names
from tflsplit.cli.options import accelerator as options_accelerator
from tflsplit.cli.output import examples, proofs, screen
from tflsplit.coding import precisions
from tflsplit.graph import cuts
from tflsplit.graph.tensors import Array
from tflsplit.package import reading, trial, verify
from tflsplit.package.float_proof import FloatTail
from tflsplit.package.manifest import Role

if TYPE_CHECKING:  # it needs an interpreter, which `tflsplit doctor` may be run to find missing
    from edge_runtime.profiling.equivalence import Comparison


@click.command(
    epilog=examples.epilog("tflsplit verify model.tflsplit", "tflsplit verify model.tflsplit --samples pictures/")
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.option(
    "--samples",
    default="8",
    show_default=True,
    help="Inputs to compare on: a number of random inputs, or a folder of pictures, or a .npy, .npz or .csv file.",
)
@click.option(
    "--cuts",
    "wanted",
    shell_complete=cut_names.complete,
    default="listed",
    show_default=True,
    help="Cuts to check: listed, as `tflsplit inspect` does, all, useful, or ids and layers with commas between them.",
)
@options_accelerator.option(default=None, what="Also run the heads on this accelerator and compare with the CPU")
@click.option(
    "--record",
    "record_to",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what the heads give here to a file, for --against on another machine.",
)
@click.option(
    "--against",
    "compared",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Compare a file of --record with this machine: its boundaries, and this machine's tails on them.",
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace the file of --record if there is one.")
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
def command(
    pkg: Path,
    *,
    samples: str,
    wanted: str,
    accelerator_name: str | None,
    record_to: Path | None,
    compared: Path | None,
    replaces_existing: bool,
    is_json: bool,
) -> None:
    """Prove that cutting the model changes no result.

    Head and tail of each cut run one after the other, and the whole model runs beside them. The results must be equal
    bit for bit; exit code 1 if any differs. In a package that was converted with --stateful the inputs are the steps of
    one stream, and each half goes on from its own state.

    In a package with float tails the int8 model proves the cuts. Of each float tail it is proven that it is the rest of
    the float model, and that it converts the head's int8 output to float exactly.

    With --accelerator each head also runs there. Printed are the largest difference from the CPU in integer steps, the
    share of equal elements, and how often the tail's largest output is the same. Accelerators round differently, so
    this does not change the exit code.

    In a bundle for the edge the golden samples prove its heads: exit code 0 if they are equal here, 3 if they differ
    and these kernels may round otherwise than those of the machine that made them, 1 if they should not differ. The
    same holds for --against: results of two real machines.

    \b
    Python: tflsplit.verify("model.tflsplit", samples="pictures/")
    """
    proofs.check_choice(record_to, compared, accelerator_name)
    if record_to is not None:
        files.check_free(record_to, replaces_existing=replaces_existing)
    opened = packages.open(pkg)
    if record_to is not None or compared is not None or opened.manifest.role is not Role.WHOLE:
        trial.check(opened)
        sys.exit(proofs.of_machines(opened, wanted, samples, record_to, compared, is_json=is_json))
    chosen = opened.select(wanted)
    inputs = packages.inputs_of(opened, samples)
    trial.check(opened)
    with screen.progress("verify", len(chosen)) as step:
        report = verify.verify(opened, chosen, inputs, on_cut=step)
    there = None if accelerator_name is None else _on_accelerator(opened, chosen, inputs, accelerator_name)
    if is_json:
        screen.as_json(report.as_json() | ({} if there is None else {"accelerator": there.as_json()}))
    else:
        _print(report)
        if precisions.of_package(opened):
            screen.write(
                "proven of frames without loss; in fewer bits (`plan --lossy`) results are near, not equal: "
                "`tflsplit inspect` says how near"
            )
        if there is not None:
            options_accelerator.print_comparison(there)
    sys.exit(0 if report.holds else 1)


def _on_accelerator(
    opened: reading.Package, chosen: Sequence[cuts.Cut], inputs: Sequence[tuple[Array, ...]], name: str
) -> "Comparison":
    from edge_runtime.profiling import equivalence

    accelerator = options_accelerator.resolve(opened, max(chosen, key=lambda cut: cut.position), name)
    with screen.progress(f"verify on {accelerator.name}", len(chosen)) as step:
        return equivalence.compare(opened, chosen, inputs, accelerator, on_cut=step)


def _print(report: verify.Report) -> None:
    for found in report.mismatches:
        samples, steps = text.counted(found.samples, report.unit), text.counted(found.max_lsb, "integer step")
        screen.write(f"{found.cut}: differs in {samples}, by up to {steps}")
    count = len(report.cuts_checked)
    verdict = "bit-exact" if report.is_bit_exact else f"{len(report.mismatches)} differ"
    of = " of one stream" if report.is_stream else ""
    screen.write(f"{text.counted(count, 'cut')} x {text.counted(report.samples, report.unit)}{of}: {verdict}")
    screen.write(f"kernel class {report.kernel_class}")
    if report.float_tails:
        _print_float_tails(report.float_tails)


def _print_float_tails(tails: Sequence[FloatTail]) -> None:
    for tail in tails:
        for what, differs in (("slice", tail.slice_differs), ("door", tail.door_differs)):
            if differs:
                screen.write(f"{tail.cut}: the float tail's {what} differs in {text.counted(differs, 'sample')}")
    exact = sum(tail.is_exact for tail in tails)
    known = [(tail.sqnr_db, tail.cut) for tail in tails if tail.sqnr_db is not None]
    least, where = min(known, default=(None, ""))
    keeps = "nothing varies" if least is None else f"results keep {least:.1f} dB SQNR, or more (least at {where})"
    screen.write(
        f"{exact} of {text.counted(len(tails), 'float tail')} exactly the float model's remainder; "
        f"after int8 heads, against float and on these inputs, {keeps}"
    )
