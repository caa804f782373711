"""`tflsplit convert`: a model file becomes a package of heads and tails."""

from pathlib import Path

import click

import tflsplit
from tflsplit.cli.commands import inspect
from tflsplit.cli.output import edgetpu, screen
from tflsplit.confinement import rights
from tflsplit.inputs import preprocessing
from tflsplit.package import reading


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--output", "destination", type=click.Path(path_type=Path), help="Default: MODEL's name .tflsplit.")
@click.option(
    "--target",
    type=click.Choice(("cpu", "coral")),
    default="cpu",
    show_default=True,
    help="What runs the heads; coral makes what the Edge TPU's compiler takes, and compiles it where that is here.",
)
@click.option(
    "--calibration", type=click.Path(path_type=Path), help="Folder of pictures, .npy, .npz or .csv. Default: synthetic."
)
@click.option("--require-calibration", "requires_calibration", is_flag=True, help="Refuse to synthesise inputs.")
@click.option(
    "--preprocess",
    help=f"How pixels become input: {', '.join(preprocessing.NAMED)} or SCALE,OFFSET. Default: inferred.",
)
@click.option("--labels", type=click.Path(path_type=Path), help="File with one label a line, class 0 first.")
@click.option("--compiler", metavar="COMMAND", help="Runs edgetpu_compiler; see `tflsplit compile --help`.")
@click.option(
    "--split-at",
    multiple=True,
    metavar="LAYER",
    help="Write the pair of this layer or cut id, or of `edgetpu`: before the first operator that cannot run there. "
    "Repeatable.",
)
@click.option("--pairs", type=click.Choice(("useful", "all", "none")), help="Pairs to write. Default: useful.")
@click.option(
    "--tail",
    type=click.Choice(("int8", "float32")),
    default="int8",
    show_default=True,
    help="What the cloud's halves compute in; frames are int8 either way.",
)
@click.option(
    "--io", type=click.Choice(("int8", "uint8")), help="Type of the model's inputs and outputs. Default: int8."
)
@click.option(
    "--input-shape",
    multiple=True,
    metavar="N,N,…",
    help="Shape of an input without its batch, where the model leaves it open; repeat for each input.",
)
@click.option("--allow-unsafe", is_flag=True, help="Load models that carry code, and run that code in the sandbox.")
@click.option("--force", "replaces_existing", is_flag=True, help="Replace an existing package.")
@click.option("--json", "is_json", is_flag=True, help="Print what `inspect --json` prints of the package.")
def command(
    model: Path,
    *,
    destination: Path | None,
    preprocess: str | None,
    requires_calibration: bool,
    replaces_existing: bool,
    is_json: bool,
    **options: object,
) -> None:
    """Quantise a model to int8 once and cut it into heads and tails.

    MODEL is .h5, .keras, a SavedModel directory, or a .tflite that is int8 or uint8 throughout. Without --split-at and
    --pairs, the pairs of the useful cuts are written: those with a payload below every earlier cut's.

    \b
    Python: tflsplit.convert("model.h5", "model.tflsplit", calibration="pictures/")
    """
    with screen.progress("convert", None) as step:
        made = tflsplit.convert(
            model,
            destination,
            require_calibration=requires_calibration,
            preprocessing=preprocess,
            force=replaces_existing,
            on_stage=lambda words: step(description=words),
            **options,  # type: ignore[arg-type]  # click checked them
        )
    if rights.missing():
        click.echo(f"warning: {rights.finding().detail}", err=True)
    for warning in made.manifest.calibration.warnings:
        click.echo(f"warning: {warning}", err=True)
    if is_json:
        screen.as_json(inspect.describe(made))
    else:
        _print(made)


def _print(made: reading.Package) -> None:
    written = sum(path.endswith("/head.tflite") for path in made.manifest.files)
    click.echo(f"{made.path}: {len(made.cuts)} cuts, {written} pairs written, digest {made.digest[:16]}")
    inspect.print_quality(made)
    if made.manifest.target == "coral":
        edgetpu.print_part(made)
    edgetpu.print_compilations(made)
    click.echo(f"see the cuts: tflsplit inspect {made.path}")
