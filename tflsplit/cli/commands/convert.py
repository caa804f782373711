"""`tflsplit convert`: makes a package of heads and tails out of a model file."""

import shlex
from pathlib import Path

import click

from tflsplit import text
from tflsplit.api import conversion
from tflsplit.cli.commands import inspect
from tflsplit.cli.output import edgetpu, examples, logs, quality, screen
from tflsplit.confinement import rights
from tflsplit.inputs import preprocessing, resizing
from tflsplit.package import reading


@click.command(
    epilog=examples.epilog(
        "tflsplit convert model.h5 --calibration pictures/ --labels labels.txt",
        "tflsplit convert model.keras -o model.tflsplit --target coral \\\n--split-at edgetpu",
    )
)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    help="Folder to write the package to. Default: the name of MODEL with the ending .tflsplit, in this folder.",
)
@click.option(
    "--target",
    type=click.Choice(("cpu", "coral")),
    default="cpu",
    show_default=True,
    help="What runs the heads. coral is the Edge TPU: the model is adapted to its compiler, and the heads are compiled "
    "if the compiler is installed here.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="Typical inputs, which set the int8 scales: a folder of pictures, or a .npy, .npz or .csv file. Default: "
    "synthetic inputs, which cost accuracy.",
)
@click.option(
    "--require-calibration", "requires_calibration", is_flag=True, help="Refuse to convert without --calibration."
)
@click.option(
    "--preprocess",
    help=f"How pixels from 0 to 255 become the model's input: {', '.join(preprocessing.NAMED)}, or two numbers "
    "SCALE,OFFSET. Default: inferred from the model.",
)
@click.option(
    "--resize",
    type=click.Choice([each.value for each in resizing.Resize]),
    default="stretch",
    show_default=True,
    help="How pictures of other sizes are fitted: stretch them, crop their middle as Teachable Machine does, or "
    "letterbox them with grey edges as YOLO does.",
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="Text file with the name of one class on each line, class 0 first.",
)
@click.option(
    "--task",
    metavar="TASK",
    help="What the model does: classify, detect, segment, pose or regress; with a form of its outputs where several "
    "fit, as detect:yolov5. Default: told from the outputs.",
)
@click.option(
    "--min-score",
    type=float,
    help="With --task detect: score from which on an object counts. Default: 0.25 for YOLO, else 0.5.",
)
@click.option(
    "--compiler",
    metavar="COMMAND",
    help="With --target coral: path of edgetpu_compiler, or a command that runs it; see `tflsplit compile --help`.",
)
@click.option(
    "--split-at",
    multiple=True,
    metavar="LAYER",
    help="Write head and tail of the cut after this layer, or of the cut with this id. `edgetpu` means the cut before "
    "the first operator that the Edge TPU cannot run. Repeatable.",
)
@click.option(
    "--pairs",
    type=click.Choice(("useful", "all", "none")),
    help="Cuts whose head and tail are written. Default: useful, unless --split-at is given.",
)
@click.option(
    "--tail",
    type=click.Choice(("int8", "float32")),
    default="int8",
    show_default=True,
    help="Type that tails compute in. Heads compute in int8, and frames are int8, either way.",
)
@click.option(
    "--io",
    type=click.Choice(("int8", "uint8")),
    help="Type of the converted model's inputs and outputs. Default: int8.",
)
@click.option(
    "--requantise",
    is_flag=True,
    help="Make a uint8 .tflite int8, with a scale for each channel: int8 gives the same bits on every processor, uint8 "
    "does not. What it costs is measured on the calibration data.",
)
@click.option(
    "--stateful",
    is_flag=True,
    help="Keep what the model's operators remember, as an LSTM does, from one frame of a device to the next. Default: "
    "it is reset before each frame.",
)
@click.option(
    "--input-shape",
    multiple=True,
    metavar="N,N,…",
    help="Shape of an input without the batch dimension, for a model that leaves it open. Repeat it for each input.",
)
@click.option(
    "--replace",
    multiple=True,
    metavar="LAYER=SCALE,OFFSET",
    help="Replace a Lambda layer that only scales, without running its code: its output is x * SCALE + OFFSET. "
    "Repeatable.",
)
@click.option(
    "--signature",
    metavar="NAME",
    help="Signature of a SavedModel to convert. Default: serving_default, or the only one.",
)
@click.option(
    "--allow-unsafe",
    is_flag=True,
    help="Load models that contain code, and run that code in the sandbox. Default: they are refused.",
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace the package at -o if there is one.")
@click.option("--json", "is_json", is_flag=True, help="Print the package as JSON, as `tflsplit inspect --json` does.")
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
    """Convert a model to int8 and cut it into heads and tails.

    MODEL is a .h5 or .keras file, a SavedModel folder, or a .tflite file that is int8 or uint8 throughout. It is
    quantised once, as a whole; heads and tails are parts of the result. A cut is useful if it sends fewer bytes than
    every cut before it.

    \b
    Python: tflsplit.convert("model.h5", "model.tflsplit", calibration="pictures/")
    """
    with screen.progress("convert", None) as step:
        made = conversion.convert(
            model,
            destination,
            require_calibration=requires_calibration,
            preprocessing=preprocess,
            force=replaces_existing,
            on_stage=lambda words: step(description=words),
            **options,  # type: ignore[arg-type]  # click checked them
        )
    if rights.missing():
        logs.warning(rights.finding().detail)
    for warning in made.manifest.calibration.warnings:
        logs.warning(warning)
    if is_json:
        screen.as_json(inspect.describe(made))
    else:
        _print(made)


def _print(made: reading.Package) -> None:
    written = sum(path.endswith("/head.tflite") for path in made.manifest.files)
    cuts, pairs = text.counted(len(made.cuts), "cut"), text.counted(written, "pair")
    screen.write(f"{made.path}: {cuts}, {pairs} written, digest {made.digest[:16]}")
    inspect.print_exactness(made)
    inspect.print_state(made)
    quality.show(made)
    if made.manifest.target == "coral":
        edgetpu.print_part(made)
    edgetpu.print_compilations(made)
    screen.write(f"see the cuts: tflsplit inspect {shlex.quote(str(made.path))}")
