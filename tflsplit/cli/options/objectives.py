"""The options of `tflsplit plan` for what is wanted and what it costs, and the values they describe."""

from collections.abc import Callable
from typing import Any

import click

from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.planning.constraints import Constraints
from tflsplit.planning.decision import Goal, Objective, Weights
from tflsplit.planning.scenario import Power, Prices, Workload
from tflsplit.timings import links

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


def goal_of(package: Package, given: dict[str, Any]) -> Goal:
    wanted: Cut | None = package.cut(given["min_depth"]) if given["min_depth"] else None
    return Goal(
        objective=Objective(given["objective"]),
        constraints=Constraints(
            max_latency_s=links.parse_duration(given["max_latency"]) if given["max_latency"] else None,
            fps=given["fps"],
            max_bytes_per_day=given["max_bytes_per_day"],
            max_edge_memory_bytes=given["max_edge_memory"],
            max_price_per_day=given["max_price_per_day"],
            max_energy_j=given["max_energy"],
            min_position=wanted.position if wanted else None,
        ),
        weights=_weights(given["weights"]) if given["weights"] else Weights(),
    )


def workload_of(given: dict[str, Any]) -> Workload:
    names = ("devices", "workers", "window", "reload_every")
    return Workload(rate_fps=given["fps"], **{name: given[name] for name in names})


def prices_of(given: dict[str, Any]) -> Prices:
    return Prices(per_gb=given["price_per_gb"], per_cloud_hour=given["price_per_cloud_hour"])


def power_of(given: dict[str, Any]) -> Power | None:
    idle_w, active_w = given["idle_watts"], given["active_watts"]
    if (idle_w is None) != (active_w is None):
        raise errors.SettingsError("--idle-watts and --active-watts belong together; give both")
    return None if idle_w is None else Power(idle_w, active_w)


def _weights(text: str) -> Weights:
    try:
        rate, network, overhead = (float(entry) for entry in text.split(","))
    except ValueError:
        raise errors.SettingsError(f"--weights {text!r}: write three numbers with commas, as 1,2,1") from None
    return Weights(rate, network, overhead)
