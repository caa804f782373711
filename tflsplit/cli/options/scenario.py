"""The options that describe what a plan is made for: the network link, and how the input may be sent; and those of
commands that play a trace of a link, `simulate`, and `replay` where it is given one."""

from pathlib import Path

import click

from tflsplit.cli.options import units
from tflsplit.switching import hedge as switching_hedge
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

GATE = (
    click.option(
        "--gate-samples",
        type=click.Path(path_type=Path),
        metavar="FOLDER|FILE",
        help="Say for each SCORE of `tflsplit edge --answer-here SCORE` what it would send and how right the answers "
        "would be, on these samples: a folder of pictures, in a folder for each class if they have classes, or a .npy, "
        ".npz or .csv file; in an .npz the classes may stand beside the inputs, as `labels`.",
    ),
)

TRACE_HELP = "How the link was through time: a CSV (time_s,rate_bps,rtt_s,loss,load), or a file of mahimahi's."

PLAYING = (
    click.option(
        "--slow-edge",
        type=float,
        default=1.0,
        show_default=True,
        help="A device that takes so many times what was profiled.",
    ),
    click.option("--fps", type=float, default=10.0, show_default=True, help="Frames a second of the camera."),
    click.option(
        "--duration", type=units.TIME, help="How much of the trace to play, it repeats. Default: all of it once."
    ),
    click.option(
        "--objective",
        type=click.Choice(["mean", "p95"]),
        default="mean",
        show_default=True,
        help="Which latency the moving cut is to keep low.",
    ),
    click.option(
        "--hedge",
        type=float,
        default=switching_hedge.DEFAULT,
        show_default=True,
        metavar="FACTOR",
        help="After so many times a frame's expected way from sending to answer, the device computes it too.",
    ),
    click.option("--no-hedge", is_flag=True, help="The device never computes what it has sent."),
    click.option("--no-probes", is_flag=True, help="Do not measure the link while nothing is sent over it."),
    click.option("--report", type=click.Path(path_type=Path), help="Write a page with charts to this HTML file."),
    click.option("--force", "replaces_existing", is_flag=True, help="Replace the file of --report if there is one."),
)
