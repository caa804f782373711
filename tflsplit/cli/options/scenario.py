"""The options that describe what a plan is made for: the network link, and how the input may be sent."""

from pathlib import Path

import click

from tflsplit.cli.options import units
from tflsplit.timings import presets

LINK = (
    click.option(
        "--link",
        metavar="FILE|NAME",
        help="The network link: a file written by `tflsplit probe -o`, or the name of a preset: "
        f"{', '.join(presets.PRESETS)}.",
    ),
    click.option("--bandwidth", type=units.RATE, help="Without --link: bandwidth of the link, for example 5Mbit."),
    click.option("--rtt", type=units.TIME, help="Without --link: round-trip time of the link, for example 40ms."),
    click.option(
        "--loss",
        type=units.SHARE,
        help="Without --link: share of packets that are lost, for example 1%. Default: none.",
    ),
)

CODECS = click.option(
    "--input-codecs",
    default="raw,int8,jpeg:75",
    show_default=True,
    metavar="CODEC,…",
    help="Codings of the input to compare, for the case that the whole model runs in the cloud.",
)
INPUT = (
    CODECS,
    click.option(
        "--pictures",
        type=click.Path(path_type=Path),
        help="Folder of typical pictures. The size of the input as JPEG is measured on them.",
    ),
    click.option(
        "--jpeg-bytes",
        type=units.SIZE,
        help="Size of the input as JPEG, for example 20K. Default: as measured in the edge's profile, else estimated.",
    ),
)
