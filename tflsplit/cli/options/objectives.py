"""The options of `tflsplit plan` for what is wanted and what it costs."""

from collections.abc import Callable
from typing import Any

import click

from tflsplit.planning.decision import Objective

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

WISH = (
    click.option(
        "--objective",
        type=click.Choice([entry.value for entry in Objective]),
        default="latency",
        show_default=True,
        help="What the pick is best in.",
    ),
    click.option(
        "--weights", metavar="R,N,O", help="Of rate, network cost and overhead in `weighted`. Default: 1,1,1."
    ),
    click.option("--max-latency", metavar="TIME", help="95th percentile, from capture to result, as 100ms."),
    click.option("--fps", type=float, help="Frames a second of each device, which every stage must keep up with."),
    click.option("--max-bytes-per-day", type=float, help="Of each device, headers and both ways included."),
    click.option("--max-edge-memory", type=int, metavar="BYTES", help="What the head may add to the edge's process."),
    click.option("--min-depth", metavar="LAYER", help="Layer or cut that must still run at the edge, for privacy."),
    click.option("--max-price-per-day", type=float, help="Of each device; needs a price."),
    click.option("--max-energy", type=float, metavar="J", help="Of the edge for one frame; needs its power."),
)
COSTS = (
    click.option("--price-per-gb", type=float, help="Of a gigabyte (10^9 bytes) over the link."),
    click.option("--price-per-cloud-hour", type=float, help="Of an hour of one cloud worker."),
    click.option("--idle-watts", type=float, help="Power of the edge at rest."),
    click.option("--active-watts", type=float, help="Power of the edge at work."),
    click.option("--devices", type=int, default=1, show_default=True, help="Equal edges that share the cloud."),
    click.option("--workers", type=int, default=1, show_default=True, help="Workers of that cloud."),
    click.option("--window", type=int, default=8, show_default=True, help="Frames of an edge that may be unanswered."),
    click.option("--reload-every", type=int, metavar="N", help="Another model makes the head reload every N frames."),
)


def grouped(*groups: tuple[Decorator, ...]) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate
