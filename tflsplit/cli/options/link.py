"""The options that say what a link is."""

import click

from tflsplit.timings import presets

LINK = (
    click.option(
        "--link", metavar="FILE|NAME", help=f"A file of `tflsplit probe`, or a preset: {', '.join(presets.PRESETS)}."
    ),
    click.option("--bandwidth", metavar="RATE", help="State the link instead: its rate, as 5Mbit."),
    click.option("--rtt", metavar="TIME", help="Round trip of the stated link, as 40ms."),
    click.option("--loss", metavar="SHARE", help="Packets lost on the stated link, as 1%. Default: none."),
)
