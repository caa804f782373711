"""The options that say what a link is, and the link that they describe."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.timings import links, presets
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Origin

LINK = (
    click.option(
        "--link", metavar="FILE|NAME", help=f"A file of `tflsplit probe`, or a preset: {', '.join(presets.PRESETS)}."
    ),
    click.option("--bandwidth", metavar="RATE", help="State the link instead: its rate, as 5Mbit."),
    click.option("--rtt", metavar="TIME", help="Round trip of the stated link, as 40ms."),
    click.option("--loss", metavar="SHARE", help="Packets lost on the stated link, as 1%. Default: none."),
)


def link_of(name: str | None, bandwidth: str | None, rtt: str | None, loss: str | None) -> Link:
    if name is not None:
        if bandwidth or rtt or loss:
            raise errors.SettingsError("--link and --bandwidth, --rtt or --loss both describe the link; give one")
        return links.read(Path(name)) if Path(name).is_file() else presets.named(name)
    if bandwidth is None or rtt is None:
        raise errors.SettingsError("no link: give --link FILE or NAME, or --bandwidth and --rtt")
    return Link(
        name="stated",
        origin=Origin.STATED,
        bandwidth_bps=links.parse_bandwidth(bandwidth),
        rtt_s=links.parse_duration(rtt),
        loss=links.parse_share(loss) if loss else 0.0,
        source="the command line",
    )
