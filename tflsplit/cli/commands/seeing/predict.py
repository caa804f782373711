"""`tflsplit predict`: what a package answers to pictures or other inputs."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.api import files, packages
from tflsplit.api.seeing import predicting
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.seeing import lines
from tflsplit.decoding import maps
from tflsplit.package import outputs
from tflsplit.package.reading import Package


@click.command(
    epilog=examples.epilog(
        "tflsplit predict model.tflsplit cat.jpg dog.jpg", "tflsplit predict model.tflsplit pictures/ --top 1 --json"
    )
)
@click.argument("pkg", type=click.Path(path_type=Path))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path())  # text: it may be no path
@click.option(
    "--cut", "cut_name", help="Id or layer of the cut (see `tflsplit inspect`). Default: the one that an edge takes."
)
@click.option(
    "--top", type=click.IntRange(min=1), default=3, show_default=True, help="Number of classes to show of each answer."
)
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Of a model that segments, write the mask of each picture to this folder, as NAME.png.",
)
@click.option("--json", "is_json", is_flag=True, help="Print a line of JSON for each input.")
def command(
    pkg: Path, *, inputs: tuple[str, ...], cut_name: str | None, top: int, masks: Path | None, is_json: bool
) -> None:
    """Show what the package answers to each INPUT.

    INPUT is a picture, a folder of pictures, a .npy, .npz or .csv file, video:FILE, or for one picture camera:N,
    rtsp://… or mqtt://HOST/TOPIC. Head and tail of the cut run in this process, and the answers are those of a
    deployment, number for number. Boxes and keypoints are fractions of the picture, from its left upper corner.

    \b
    Python: tflsplit.predict("model.tflsplit", "cat.jpg")
    """
    opened = packages.open(pkg)
    if masks is not None:
        _check_masks(opened, masks)
    for number, predicted in enumerate(predicting.each_of(opened, inputs, cut=cut_name, top=top)):
        answer = predicted.answer
        if is_json:
            screen.as_json(predicted.as_json())
        else:
            screen.write(f"{predicted.input}: {lines.line(answer.top, answer.values, answer.found)}")
            for words in lines.details(answer.found):
                screen.write(f"  {words}")
        if masks is not None and answer.found is not None and answer.found.mask is not None:
            file = masks / f"{number:04d}-{Path(predicted.input).stem}.png"
            files.write_whole(file, maps.png(answer.found.mask))


def _check_masks(opened: Package, folder: Path) -> None:
    if not outputs.segments(opened.manifest):
        raise errors.SettingsError(f"{opened.path}: does not segment, so there are no masks: leave --masks out")
    files.make_folder(folder)
