"""`tflsplit inspect`: the cuts of a model, with the bytes that each sends and the work of each side."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from tflsplit import errors, text
from tflsplit.api import files
from tflsplit.api.seeing import describing
from tflsplit.cli.output import edgetpu, examples, logs, losses, quality, screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.coding import precisions
from tflsplit.fidelity import NO_ERROR_DB, Fidelity
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import TensorSpec
from tflsplit.kernels import exactness
from tflsplit.losses import explorer
from tflsplit.package import outputs, reading
from tflsplit.package.manifest import FloatTails, Role


@click.command(
    epilog=examples.epilog(
        "tflsplit inspect model.tflsplit", "tflsplit inspect model.h5 --target coral --html model.html"
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--target", type=click.Choice(("cpu", "coral")), help="coral: also show which operators the Edge TPU can run."
)
@click.option(
    "--errors",
    "samples",
    is_flag=False,
    flag_value=losses.OWN_SAMPLES,
    metavar="[SAMPLES]",
    help="Show instead how far each operator is from float, worst first, on a folder of pictures, a .npy, .npz or .csv "
    "file, or a number of random inputs; without SAMPLES on those that the package holds.",
)
@click.option(
    "--model-explorer",
    "explorer_file",
    type=click.Path(path_type=Path),
    metavar="OUT.json",
    help="Also write these errors to this file, which Model Explorer shows on the graph of model.tflite.",
)
@click.option(
    "--html",
    "page_file",
    type=click.Path(path_type=Path),
    metavar="OUT.html",
    help="Also write a page: the network, what each cut sends, and which operators the Edge TPU can run.",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Show on the page of --html where the time goes, as `tflsplit profile` measured it; once for each machine.",
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace files that are there already.")
@click.option(
    "--all-cuts",
    "shows_all",
    is_flag=True,
    help="Show also the cuts between the time steps of unrolled recurrent layers, with more than 8 tensors each.",
)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def command(
    model: Path,
    *,
    target: str | None,
    samples: str | None,
    explorer_file: Path | None,
    page_file: Path | None,
    profiles: tuple[Path, ...],
    replaces_existing: bool,
    shows_all: bool,
    is_json: bool,
) -> None:
    """Show the cuts of a package or a model.

    Of each cut: the layer it follows, the bytes it sends (payload), and of head and tail the work in millions of
    multiply-accumulates (MMAC) and the bytes of weights.

    MODEL is a package, or a model file as for `tflsplit convert`. A model file is converted in a temporary folder with
    synthetic calibration: cuts and payloads are those of the real conversion, scales are not. With --target coral the
    operators are listed too, each with the reason if the Edge TPU cannot run it. No compiler is needed for that.

    With --errors a model file is calibrated on SAMPLES and measured on them, against its float model; so is a package
    that was converted with --tail float32. Any other package is compared with its own operators in float.

    \b
    Python: tflsplit.open("model.tflsplit").cuts
    """
    _check(explorer_file, page_file, samples, profiles, replaces_existing=replaces_existing)

    def write_page(found: reading.Package) -> None:
        if page_file is not None:
            describing.write_report(found, page_file, profiles=profiles, force=replaces_existing)

    if (model / reading.MANIFEST).exists() or model.suffix == reading.SUFFIX:
        opened = reading.open_package(model)
        write_page(opened)
        if samples is None:
            _show(opened, is_json, judges=target == "coral", shows_all=shows_all)
        else:
            _show_errors(opened, samples, explorer_file, is_json)
        return
    from converters import convert

    with tempfile.TemporaryDirectory(prefix="tflsplit-") as scratch:
        destination = Path(scratch) / f"{model.stem}{reading.SUFFIX}"
        if samples is None:
            options = convert.Options(target=target or "cpu", pairs="none", quick=True)
            made = convert.convert(model, destination, options)
            write_page(made)
            _show(made, is_json, judges=target == "coral", shows_all=shows_all, is_kept=False)
            return
        data = None if samples == losses.OWN_SAMPLES or samples.isdecimal() else Path(samples)
        made = convert.convert(model, destination, convert.options_for_errors(model, data, target or "cpu"))
        write_page(made)
        _show_errors(made, samples, explorer_file, is_json)


def _check(
    explorer_file: Path | None,
    page_file: Path | None,
    samples: str | None,
    profiles: Sequence[Path],
    *,
    replaces_existing: bool,
) -> None:
    """What is known to be wrong before the model is opened."""
    if explorer_file is not None and samples is None:
        raise errors.SettingsError("--model-explorer shows errors; give --errors with it")
    if profiles and page_file is None:
        raise errors.SettingsError("--profile is for the page of --html; give --html with it")
    for file in (explorer_file, page_file):
        if file is not None:
            files.check_free(file, replaces_existing=replaces_existing)


def _show_errors(opened: reading.Package, samples: str, explorer_file: Path | None, is_json: bool) -> None:
    report, origin = losses.measured(opened, samples)
    if explorer_file is not None:
        files.write_whole(explorer_file, explorer.node_data(opened.graph, report.operators))
    if is_json:
        screen.as_json(describe(opened) | {"errors": losses.describe(opened, report, origin)})
        return
    losses.show(opened, report, origin)


def _show(
    opened: reading.Package, is_json: bool, *, judges: bool, shows_all: bool = False, is_kept: bool = True
) -> None:
    shown = opened.select("all" if shows_all else "listed")
    if is_json:
        mapping = edgetpu.describe_mapping(opened) if judges else {}
        screen.as_json(describe(opened, shown, is_kept=is_kept) | mapping)
        return
    _print_cuts(opened, shown, is_kept=is_kept)
    if judges:
        edgetpu.print_mapping(opened)
    print_exactness(opened)
    print_state(opened)
    quality.show(opened)
    print_precisions(opened)
    edgetpu.print_compilations(opened)
    for warning in opened.manifest.calibration.warnings:
        logs.warning(warning)


def _print_cuts(opened: reading.Package, shown: Sequence[Cut], *, is_kept: bool) -> None:
    described = opened.manifest
    rows = [
        (
            cut.id,
            cut.layer,
            cut.payload_bytes,
            len(cut.boundary),
            "yes" if cut.is_useful else "",
            f"{cut.head.macs / 1e6:.2f}",
            cut.head.parameter_bytes,
            f"{cut.tail.macs / 1e6:.2f}",
            cut.tail.parameter_bytes,
            "yes" if is_kept and (opened.file(cut, "head") or opened.file(cut, "tail")) else "",
        )
        for cut in shown
    ]
    columns = (
        "cut",
        Column("after layer", Kind.NAME),
        "payload B",
        Column("tensors", rank=4),
        Column("useful", rank=1),
        Column("head MMAC", rank=2),
        Column("head B", rank=3),
        Column("tail MMAC", rank=2),
        Column("tail B", rank=3),
        Column("pair", rank=1),
    )
    title = f"{described.name}  digest {opened.digest[:16]}  calibration: {described.calibration.kind}"
    screen.table(title, columns, rows)
    if len(shown) < len(opened.cuts):
        screen.write(f"{text.counted(len(opened.cuts) - len(shown), 'cut')} between time steps: --all-cuts shows them")


def print_precisions(opened: reading.Package) -> None:
    """What features in fewer bits lose, where that was measured."""
    found = precisions.of_package(opened)
    if not found:
        return
    measured = found[0].fidelity
    rows = [
        (
            each.cut,
            each.bits,
            each.payload_bytes(opened.cut(each.cut)),
            None if each.fidelity.top1_agreement is None else f"{each.fidelity.top1_agreement:.1%}",
            _in_db(each.fidelity.sqnr_db),
        )
        for each in found
    ]
    title = f"features in fewer bits (`plan --lossy`), against frames without loss, {measured.samples_in_words}"
    screen.table(title, ("cut", "bits", "payload B", "agrees", "SQNR dB"), rows)


def print_exactness(opened: reading.Package) -> None:
    """On which machines heads are exact: from which cut on, and because of what. It only gets less from cut to cut."""
    before = None
    for cut in opened.cuts:
        verdict = exact_on(opened, cut)
        if verdict is not None and verdict.exact_on is not before:
            screen.write(f"heads from {cut.id} on: {verdict}")
            before = verdict.exact_on
    if before is exactness.Exactness.ONE_CLASS and opened.manifest.inputs[0].dtype == "uint8":
        _advise_int8(opened)


def print_state(opened: reading.Package) -> None:
    """What operators keep from one run to the next, and for how long."""
    kept = _kept(opened)
    if kept or opened.manifest.is_stateful:
        of = f" of {', '.join(_keepers(opened))}, {sum(spec.bytes for spec in kept):,} bytes," if kept else ""
        lasts = (
            "is kept from frame to frame (stateful)"
            if opened.manifest.is_stateful
            else "is reset before each frame; to keep it, convert with --stateful"
        )
        screen.write(f"state{of} {lasts}")


def _kept(opened: reading.Package) -> tuple[TensorSpec, ...]:
    """Empty in a bundle, which does not hold the whole model."""
    if opened.manifest.role is not Role.WHOLE:
        return ()
    return tuple(spec for _, spec in opened.graph.variables)


def _keepers(opened: reading.Package) -> list[str]:
    kept = {index for index, _ in opened.graph.variables}
    return sorted({operator.name for operator in opened.graph.operators if kept.intersection(operator.inputs)})


def _advise_int8(opened: reading.Package) -> None:
    """uint8 inside, as TensorFlow 1 quantised; a model that is int8 inside may have uint8 at its ends only."""
    if any(kind == "CONV_2D/uint8" for kind in opened.head_kinds(opened.cuts[-1])):
        screen.write(
            "uint8 convolutions round otherwise on each kind of processor: where edge and cloud have to agree to the "
            f"bit, convert {opened.manifest.source.file} with --requantise, which makes it int8"
        )


def exact_on(opened: reading.Package, cut: Cut) -> exactness.Verdict | None:
    """Where a cut's head is exact; None in a bundle that does not hold it."""
    return exactness.of_kinds(opened.head_kinds(cut)) if opened.has(cut, "head") else None


def describe(opened: reading.Package, shown: Sequence[Cut] | None = None, *, is_kept: bool = True) -> dict[str, object]:
    """The JSON of a package with these cuts, the listed ones without them. Paths are relative to it; None if a half was
    not written or the package is temporary."""
    shown = opened.select("listed") if shown is None else shown
    described, found = opened.manifest, precisions.of_package(opened)
    return {
        "digest": opened.digest,
        "model": described.source.file,
        "name": described.name,
        "target": described.target,
        "calibration": described.calibration.kind,
        "calibration_detail": described.calibration.detail,
        "warnings": list(described.calibration.warnings),
        "preprocessing": described.preprocessing.as_json() if described.preprocessing else None,
        "codec": described.codec,
        "decoding": described.decoding.as_json() if described.decoding else None,
        "input": described.inputs[0].as_json(),
        "inputs": [spec.as_json() for spec in described.inputs],
        "outputs": [
            spec.as_json() | {"meaning": meaning.value}
            for spec, meaning in zip(described.outputs, outputs.told(described), strict=True)
        ],
        "fidelity": [_fidelity(entry) for entry in described.fidelity],
        "fidelity_cpu": [_fidelity(entry) for entry in described.fidelity_cpu],
        "rewrites": list(described.rewrites),
        "tail": "float32" if described.float_tails else "int8",
        "stateful": described.is_stateful,
        "state_bytes": sum(spec.bytes for spec in _kept(opened)),
        "cuts": [
            cut.as_json()
            | {side: opened.file(cut, side) if is_kept else None for side in ("head", "tail", "head_edgetpu")}
            | _exactness(opened, cut)
            | {"in_bits": [_precision(each, cut) for each in found if each.cut == cut.id]}
            | _compilation(opened, cut.id)
            | (_float_tail(described.float_tails, cut.id) if described.float_tails else {})
            for cut in shown
        ],
        "cuts_not_listed": len(opened.cuts) - len(shown),
        "fused_layers": dict(described.fused),
    }


def _in_db(sqnr_db: float | None) -> str | None:
    if sqnr_db is None:
        return None
    return "equal" if sqnr_db >= NO_ERROR_DB else f"{sqnr_db:.1f}"


def _precision(found: precisions.Precision, cut: Cut) -> dict[str, object]:
    return {"bits": found.bits, "payload_bytes": found.payload_bytes(cut)} | _fidelity(found.fidelity)


def _exactness(opened: reading.Package, cut: Cut) -> dict[str, object]:
    verdict = exact_on(opened, cut)
    return {
        "exact_on": None if verdict is None else verdict.exact_on.value,
        "exact_because": [] if verdict is None else list(verdict.because),
    }


def _compilation(opened: reading.Package, cut: str) -> dict[str, object]:
    compilation = opened.manifest.compilations.get(cut)
    return {"compilation": None if compilation is None else compilation.as_json()}


def _fidelity(entry: Fidelity) -> dict[str, object]:
    return {slot: getattr(entry, slot) for slot in entry.__slots__}


def _float_tail(tails: FloatTails, cut: str) -> dict[str, object]:
    """The JSON of a cut's float tail; `fidelity` is None if its pair was not written and so not measured."""
    measured = tails.fidelity.get(cut)
    return {
        "float_tail_problem": tails.problems.get(cut),
        "fidelity": None if measured is None else [_fidelity(entry) for entry in measured],
    }
