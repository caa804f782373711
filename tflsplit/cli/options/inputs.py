"""The options for the forms in which the input itself may be sent."""

from pathlib import Path
from typing import Any

import click

from tflsplit.coding import input_codec, jpeg
from tflsplit.package.reading import Package
from tflsplit.planning import candidates
from tflsplit.planning.candidates import InputForms, Picture
from tflsplit.timings.profiles import Origin, Profile

INPUT = (
    click.option(
        "--input-codecs",
        default="raw,int8,jpeg:75",
        show_default=True,
        metavar="CODEC,…",
        help="Forms of the input that compete, in which it may be sent.",
    ),
    click.option("--pictures", type=click.Path(path_type=Path), help="Folder whose pictures' JPEG sizes count."),
    click.option(
        "--jpeg-bytes",
        type=float,
        help="State the size of the input as JPEG. Default: the edge's profile, else estimated.",
    ),
)


def forms_of(package: Package, edge: Profile, given: dict[str, Any]) -> InputForms:
    """The forms that compete, with JPEG sizes measured on --pictures, stated, or as the edge's profile found them."""
    codecs = [codec.strip() for codec in given["input_codecs"].split(",")]
    parsed = [input_codec.parse(codec) for codec in codecs]
    qualities = [codec.quality for codec in parsed if codec.quality is not None]
    stated, folder = given["jpeg_bytes"], given["pictures"]
    shape = package.manifest.inputs[0].shape
    sizes: list[Picture] = []
    for quality in qualities:
        if folder is not None:
            sizes.append(Picture(quality, jpeg.mean_bytes(folder, shape, quality), Origin.MEASURED))
        elif stated is not None:
            sizes.append(Picture(quality, stated, Origin.STATED))
        else:
            sizes.append(candidates.picture_of(package.cuts[0], quality, edge))
    return InputForms(raw="raw" in codecs, int8="int8" in codecs, jpeg=bool(qualities), pictures=tuple(sizes))
