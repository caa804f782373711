"""The options of `tflsplit plan` for the objective, the constraints, prices, power and load."""

from collections.abc import Callable
from typing import Any

import click

from tflsplit.cli.options import units
from tflsplit.kernels.heads import Exact
from tflsplit.planning.decision import Objective

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

LOSSY = click.option(
    "--lossy",
    is_flag=False,
    flag_value="",
    metavar="[SHARE|DECIBELS]",
    help="Features may also travel in 6, 4, 3 or 2 bits where that keeps this share of the answers, as 99%, or "
    "this SQNR of the output, as 20dB. Without a value: 99%, or 20dB where no classes were compared. Default: "
    "nothing is lost.",
)
WISH = (
    click.option(
        "--objective",
        type=click.Choice([entry.value for entry in Objective]),
        default="latency",
        show_default=True,
        help="What the chosen cut is best in.",
    ),
    click.option(
        "--weights",
        metavar="R,N,O",
        help="With --objective weighted: the weights of frame rate, network cost and overhead. Default: 1,1,1.",
    ),
    click.option(
        "--max-latency",
        type=units.TIME,
        help="Longest time from capture to result, for 95 % of the frames; for example 100ms.",
    ),
    click.option(
        "--fps", type=float, help="Frames a second that each device makes. Edge, link and cloud must keep up with it."
    ),
    click.option(
        "--batch",
        type=click.IntRange(1, 64),
        default=1,
        show_default=True,
        help="Inputs that one frame holds, as profiled with --batch. Needs --fps, which then counts inputs.",
    ),
    click.option(
        "--max-bytes-per-day",
        type=units.SIZE,
        help="Most bytes that one device may send and receive in a day, with all headers.",
    ),
    click.option(
        "--max-edge-memory", type=units.SIZE, help="Most memory that the head may take at the edge, for example 8M."
    ),
    click.option(
        "--min-depth", metavar="LAYER", help="For privacy: everything up to this layer or cut must run at the edge."
    ),
    click.option(
        "--max-price-per-day",
        type=float,
        help="Most that one device may cost in a day. Needs --price-per-gb or --price-per-cloud-hour.",
    ),
    click.option(
        "--max-energy",
        type=float,
        help="Most energy of the edge for one frame, in joules. Needs --idle-watts and --active-watts.",
    ),
    click.option(
        "--exact",
        type=click.Choice([wish.value for wish in Exact]),
        default="prefer",
        show_default=True,
        help="Whether the head must give at the edge what it would give in the cloud, bit for bit, by the kernel "
        "classes of both profiles. prefer: an exact cut is picked among near equals. any: no difference is made.",
    ),
    LOSSY,
)
COSTS = (
    click.option("--price-per-gb", type=float, help="Price of sending a gigabyte (10^9 bytes) over the link."),
    click.option("--price-per-cloud-hour", type=float, help="Price of one cloud worker for an hour."),
    click.option("--idle-watts", type=float, help="Power of the edge while it waits, in watts."),
    click.option("--active-watts", type=float, help="Power of the edge while it computes, in watts."),
    click.option(
        "--devices", type=int, default=1, show_default=True, help="Number of equal edges that share the cloud."
    ),
    click.option("--workers", type=int, default=1, show_default=True, help="Number of workers in the cloud."),
    click.option(
        "--window",
        type=int,
        default=8,
        show_default=True,
        help="Frames that an edge may have sent and that have no result yet.",
    ),
    click.option(
        "--reload-every",
        type=int,
        help="Where another model shares the accelerator: the head is loaded again every N frames.",
    ),
)


def grouped(*groups: tuple[Decorator, ...]) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate
