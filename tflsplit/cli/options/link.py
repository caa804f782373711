"""The options that describe the network link."""

import click

from tflsplit.timings import presets

LINK = (
    click.option(
        "--link",
        metavar="FILE|NAME",
        help="The network link: a file written by `tflsplit probe -o`, or the name of a preset: "
        f"{', '.join(presets.PRESETS)}.",
    ),
    click.option("--bandwidth", metavar="RATE", help="Without --link: bandwidth of the link, for example 5Mbit."),
    click.option("--rtt", metavar="TIME", help="Without --link: round-trip time of the link, for example 40ms."),
    click.option(
        "--loss", metavar="SHARE", help="Without --link: share of packets that are lost, for example 1%. Default: none."
    ),
)
