"""`tflsplit edge`: the head on this device, its features to the broker, the results back."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors, inputcodec
from tflsplit.cli import accelerated, connection, delivering, output, planned
from tflsplit.cuts import Cut

if TYPE_CHECKING:  # it needs what `tflsplit doctor` may be run to find missing
    from edge_runtime.settings import Settings
    from edge_runtime.summary import Summary

log = logging.getLogger(__name__)


@click.command()
@planned.argument
@planned.option
@connection.options
@click.option("--device", required=True, help="Name of this device, one of its own.")
@click.option("--source", required=True, help="Folder of pictures, a picture, .npy/.npz file, or camera:N.")
@click.option("--cut", "cut_name", help="Id or layer of the cut. Default: the first pair at 1/10 of the input's bytes.")
@click.option(
    "--input-codec",
    help="At cut input: raw (pixels), int8 or jpeg:QUALITY (lossy). Default: the plan's, else int8.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="Frames to send, repeating the source. Default: one pass over it.",
)
@click.option("--rate", "rate_fps", type=float, help="Frames a second. Default: the plan's, else all.")
@delivering.options
@accelerated.options
@click.option("--json", "is_json", is_flag=True, help="Print the summary at the end as JSON.")
def command(
    pkg: Path | None,
    *,
    plan_path: Path | None,
    broker: connection.Broker,
    deployment: str,
    device: str,
    source: str,
    cut_name: str | None,
    input_codec: str | None,
    delivering: delivering.Delivering,
    computing: accelerated.Computing,
    is_json: bool,
    **pace: float | None,
) -> None:
    """Run the head of a cut on every frame of a source and publish its features.

    Ends when the source does, after --count frames, or on SIGTERM, once every frame that was sent is answered. Exit
    code 1 if the cloud refused frames, or left some without an answer. With --spool unanswered frames stay on disk for
    the next start.

    \b
    Python: edge_runtime.loop.Edge(package, head, transport, settings).run(source)
    """
    from edge_runtime import frames, loop, sending

    for option, value in (("--cut", cut_name), ("--input-codec", input_codec)):
        if value and plan_path:
            raise errors.SettingsError(f"{option} {value} and --plan {plan_path} both say what is sent; give one")
    opened, plan = planned.opened(pkg, plan_path)
    named = plan.cut if plan else cut_name
    cut = opened.cut(named) if named else opened.default_cut()
    given = planned.settings(plan) | delivering.settings() | {n: v for n, v in pace.items() if v is not None}
    settings = _settings(deployment, device, given, input_codec)
    as_pixels = sending.of(opened, cut, settings.input_codec).pixels is not None
    taken_from = frames.open_source(source, opened.manifest, as_pixels=as_pixels)
    try:
        with (
            delivering.spool(deployment, device) as spool,
            computing.open_head(opened, cut) as ready,
            connection.connected(broker, deployment, device, settings.boot) as online,
        ):
            log.info("edge runs cut=%s layer=%s payload_bytes=%d", cut.id, cut.layer, cut.payload_bytes)
            edge = loop.Edge(opened, ready, online, settings, spool=spool)
            with output.stopped_by_signals(edge.stop):
                summary = edge.run(taken_from)
    finally:
        taken_from.close()
    if is_json:
        output.as_json(summary.as_json())
    else:
        _print(summary, cut)
    loop.check(summary, settings)


def _settings(deployment: str, device: str, given: dict[str, Any], input_codec: str | None) -> "Settings":
    from edge_runtime.settings import Settings

    if input_codec is not None:
        given["input_codec"] = inputcodec.parse(input_codec)
    return Settings(deployment=deployment, device=device, boot=connection.new_boot(), **given)


def _print(summary: "Summary", cut: Cut) -> None:
    percentiles = summary.as_json()["latency_ms"]
    words = ", ".join(f"{name} {value} ms" for name, value in percentiles.items() if value is not None)  # type: ignore[attr-defined]  # a dictionary
    click.echo(
        f"{summary.frames} frames at {cut.id}, {summary.results} results, {summary.unanswered} unanswered, "
        f"{summary.refused} refused, {summary.resent} resent, {summary.duplicates} duplicates"
        f"{accelerated.summarised(summary.accelerator)}{f'; latency {words}' if words else ''}"
    )
