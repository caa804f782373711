"""The options of `tflsplit plan` for sending the input itself: how it may be coded, and how large it is then."""

from pathlib import Path

import click

INPUT = (
    click.option(
        "--input-codecs",
        default="raw,int8,jpeg:75",
        show_default=True,
        metavar="CODEC,…",
        help="Codings of the input to compare, for the case that the whole model runs in the cloud.",
    ),
    click.option(
        "--pictures",
        type=click.Path(path_type=Path),
        help="Folder of typical pictures. The size of the input as JPEG is measured on them.",
    ),
    click.option(
        "--jpeg-bytes",
        type=float,
        help="Size of the input as JPEG, in bytes. Default: as measured in the edge's profile, else estimated.",
    ),
)
