"""The options of `tflsplit plan`, grouped, and the values they describe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tflsplit import candidates, errors, inputcodec, jpegsize, links, presets
from tflsplit.candidates import Picture, Ways
from tflsplit.cuts import Cut
from tflsplit.demands import Demands
from tflsplit.links import Link
from tflsplit.measurements import Origin, Profile
from tflsplit.package import Package
from tflsplit.planner import Objective, Weights, Wish
from tflsplit.scenario import Power, Prices, Workload

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

LINK = (
    click.option(
        "--link", metavar="FILE|NAME", help=f"A file of `tflsplit probe`, or a preset: {', '.join(presets.PRESETS)}."
    ),
    click.option("--bandwidth", metavar="RATE", help="State the link instead: its rate, as 5Mbit."),
    click.option("--rtt", metavar="TIME", help="Round trip of the stated link, as 40ms."),
    click.option("--loss", metavar="SHARE", help="Packets lost on the stated link, as 1%. Default: none."),
)
INPUT = (
    click.option(
        "--input-codecs",
        default="raw,int8,jpeg:75",
        show_default=True,
        metavar="CODEC,…",
        help="Ways of sending the input itself that compete.",
    ),
    click.option("--pictures", type=click.Path(path_type=Path), help="Folder whose pictures' JPEG sizes count."),
    click.option(
        "--jpeg-bytes",
        type=float,
        help="State the size of the input as JPEG. Default: the edge's profile, else estimated.",
    ),
)
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


def ways_of(package: Package, edge: Profile, given: dict[str, Any]) -> Ways:
    """The ways that compete, with JPEG sizes measured on --pictures, stated, or as the edge's profile found them."""
    codecs = [codec.strip() for codec in given["input_codecs"].split(",")]
    parsed = [inputcodec.parse(codec) for codec in codecs]
    qualities = [codec.quality for codec in parsed if codec.quality is not None]
    stated, folder = given["jpeg_bytes"], given["pictures"]
    shape = package.manifest.inputs[0].shape
    sizes: list[Picture] = []
    for quality in qualities:
        if folder is not None:
            sizes.append(Picture(quality, jpegsize.mean_bytes(folder, shape, quality), Origin.MEASURED))
        elif stated is not None:
            sizes.append(Picture(quality, stated, Origin.STATED))
        else:
            sizes.append(candidates.picture_of(package.cuts[0], quality, edge))
    return Ways(raw="raw" in codecs, int8="int8" in codecs, jpeg=bool(qualities), pictures=tuple(sizes))


def wish_of(package: Package, given: dict[str, Any]) -> Wish:
    wanted: Cut | None = package.cut(given["min_depth"]) if given["min_depth"] else None
    return Wish(
        objective=Objective(given["objective"]),
        demands=Demands(
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
