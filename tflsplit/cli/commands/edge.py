"""`tflsplit edge`: the head on this device, its features to the broker, the results back."""

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.api import planfile as api_planfile
from tflsplit.cli.options import accelerator, connection, delivery, monitoring, planfile, supervision, updates
from tflsplit.cli.output import screen
from tflsplit.cli.settings import edge_checks
from tflsplit.coding import input_codec as coding_input_codec

if TYPE_CHECKING:  # it needs what `tflsplit doctor` may be run to find missing
    from edge_runtime.delivery.settings import Settings
    from edge_runtime.sources.frames import Source

log = logging.getLogger(__name__)


@click.command("edge", cls=edge_checks.EdgeCommand)
@planfile.argument
@planfile.option
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
@delivery.options
@accelerator.options
@monitoring.options
@updates.options
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
    delivering: delivery.DeliveryOptions,
    computing: accelerator.AcceleratorOptions,
    observed: monitoring.MonitoringOptions,
    updating: updates.UpdateOptions,
    is_json: bool,
    **pace: float | None,
) -> None:
    """Run the head of a cut on every frame of a source and publish its features.

    Options may stand in a TOML file (--config) and in the environment (TFLSPLIT_EDGE_<OPTION>) as well.

    Ends when the source does, after --count frames, or on SIGTERM, once every frame that was sent is answered. Exit
    code 1 if the cloud refused frames, or left some without an answer. With --spool unanswered frames stay on disk for
    the next start.

    \b
    Python: tflsplit.Edge("model.tflsplit", "mqtt://localhost", deployment="d", device="n").run("pictures/")
    """
    from edge_runtime import loop
    from edge_runtime.delivery import outcome

    service = supervision.SupervisedEdge(click.get_current_context())
    service.starting("opening the package")
    opened, plan, cut = planfile.opened_at(pkg, plan_path, {"--cut": cut_name, "--input-codec": input_codec})
    given = api_planfile.settings(plan) | delivering.settings() | {n: v for n, v in pace.items() if v is not None}
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
            screen.stopped_by_signals(edge.stop),
            service.attended(edge, online, api_planfile.settings(plan)),
        ):
            summary = edge.run(taken_from)
    if is_json:
        screen.as_json(summary.as_json())
    else:
        click.echo(summary.in_words(edge.cut.id))
    outcome.check(summary, settings, is_stopped=edge.is_stopping)


def _source(text: str, model: updates.RunningUpdates, settings: "Settings") -> "Source":
    from edge_runtime.delivery import framing
    from edge_runtime.sources import frames

    as_pixels = framing.of(model.package, model.cut, settings.input_codec).pixels is not None
    return frames.open_source(text, model.package.manifest, as_pixels=as_pixels)


def _settings(deployment: str, device: str, given: dict[str, Any], input_codec: str | None) -> "Settings":
    from edge_runtime.delivery.settings import Settings

    if input_codec is not None:
        given["input_codec"] = coding_input_codec.parse(input_codec)
    return Settings(deployment=deployment, device=device, **given)
