"""The options for the forms in which the input itself may be sent."""

from pathlib import Path

import click

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
