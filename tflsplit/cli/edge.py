"""`tflsplit edge`: the head on this device, its features to the broker, the results back."""

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import inputcodec
from tflsplit.cli import accelerated, attending, connection, delivering, edgechecks, observed, output, planned, updating

if TYPE_CHECKING:  # it needs what `tflsplit doctor` may be run to find missing
    from edge_runtime.frames import Source
    from edge_runtime.settings import Settings

log = logging.getLogger(__name__)


@click.command("edge", cls=edgechecks.EdgeCommand)
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
@observed.options
@updating.options
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
    observed: observed.Observed,
    updating: updating.Updating,
    is_json: bool,
    **pace: float | None,
) -> None:
    """Run the head of a cut on every frame of a source and publish its features.

    Options may stand in a TOML file (--config) and in the environment (TFLSPLIT_EDGE_<OPTION>) as well.

    Ends when the source does, after --count frames, or on SIGTERM, once every frame that was sent is answered. Exit
    code 1 if the cloud refused frames, or left some without an answer. With --spool unanswered frames stay on disk for
    the next start.

    \b
    Python: edge_runtime.loop.Edge(package, head, transport, settings).run(source)
    """
    from edge_runtime import loop, outcome

    service = attending.Attending(click.get_current_context())
    service.starting("opening the package")
    opened, plan, cut = planned.opened_at(pkg, plan_path, {"--cut": cut_name, "--input-codec": input_codec})
    given = planned.settings(plan) | delivering.settings() | {n: v for n, v in pace.items() if v is not None}
    settings = _settings(deployment, device, given, input_codec)
    with (
        updating.running(opened, cut, (deployment, device)) as model,
        contextlib.closing(_source(source, model, settings)) as taken_from,
        observed.started() as seeing,
        delivering.spool(deployment, device) as spool,
        computing.open_head(model.package, model.cut) as ready,
        service.warmed_up(ready, model.package),
        connection.connected(broker, deployment, device, settings.boot, waits=service.waits and not spool) as online,
    ):
        log.info("edge runs cut=%s layer=%s payload_bytes=%d", model.cut.id, model.cut.layer, model.cut.payload_bytes)
        observers = (*service.observers, *seeing.observers, *model.observers)
        edge = loop.Edge(model.package, ready, online, settings, spool=spool, observers=observers, rescue=model.rescue)
        with (
            model.updated(edge, ready, computing, broker),
            seeing.at(edge, online, broker),
            output.stopped_by_signals(edge.stop),
            service.attended(edge, online, planned.settings(plan)),
        ):
            summary = edge.run(taken_from)
    if is_json:
        output.as_json(summary.as_json())
    else:
        accelerated.print_summary(summary, edge.cut)
    outcome.check(summary, settings, is_stopped=edge.is_stopping)


def _source(text: str, model: updating.Running, settings: "Settings") -> "Source":
    from edge_runtime import frames, sending

    as_pixels = sending.of(model.package, model.cut, settings.input_codec).pixels is not None
    return frames.open_source(text, model.package.manifest, as_pixels=as_pixels)


def _settings(deployment: str, device: str, given: dict[str, Any], input_codec: str | None) -> "Settings":
    from edge_runtime.settings import Settings

    if input_codec is not None:
        given["input_codec"] = inputcodec.parse(input_codec)
    return Settings(deployment=deployment, device=device, boot=connection.new_boot(), **given)
