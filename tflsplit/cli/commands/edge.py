"""`tflsplit edge`: runs the head on this device, sends its output to the broker and receives the results."""

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.api import planfile as api_planfile
from tflsplit.cli import cut_names
from tflsplit.cli.options import (
    accelerator,
    connection,
    delivery,
    monitoring,
    planfile,
    supervision,
    updates,
)
from tflsplit.cli.options.moving import adapting
from tflsplit.cli.output import examples, screen
from tflsplit.cli.settings import edge_checks
from tflsplit.cli.streams import surroundings
from tflsplit.coding import input_codec as coding_input_codec

if TYPE_CHECKING:  # it needs what `tflsplit doctor` may be run to find missing
    from edge_runtime.delivery.settings import Settings
    from edge_runtime.delivery.summary import Summary
    from edge_runtime.loop import Edge
    from edge_runtime.sources.frames import Source
    from edge_runtime.sources.topic import Connect
    from tflsplit.package.reading import Package

log = logging.getLogger(__name__)


@click.command(
    "edge",
    cls=edge_checks.EdgeCommand,
    epilog=examples.epilog(
        "tflsplit edge model.tflsplit --broker mqtt://localhost --deployment shop \\\n--device cam1 --source pictures/",
        "tflsplit edge model.tflsplit --credentials clients/cam1 --source camera:0",
        "tflsplit edge --config /etc/tflsplit/edge.toml",
    ),
)
@planfile.argument
@planfile.option
@connection.options
@click.option(
    "--device",
    help="Name of this device; no other device of the deployment may have it. Default: that of --credentials.",
)
@click.option("--group", help="Label of this device, by which `tflsplit rollout` finds it. Default: none.")
@click.option(
    "--source",
    required=True,
    help="Where the inputs come from: a folder of pictures, one picture, a .npy, .npz or .csv file, camera:N, "
    "picamera:N, watch:FOLDER, stdin:, video:FILE, the address of a camera (rtsp://, http://), or pictures by "
    "MQTT: topic:TOPIC on the edge's broker, or mqtt://HOST/TOPIC.",
)
@click.option(
    "--cut",
    "cut_name",
    shell_complete=cut_names.complete,
    help="Id or layer of the cut (see `tflsplit inspect`). Default: the plan's, else the first cut in the package that "
    "sends at most 1/10 of the input's bytes.",
)
@click.option(
    "--input-codec",
    metavar="CODEC",
    help="At the cut `input`, how the input is sent: raw (pixels), int8, or jpeg:QUALITY, which loses detail. "
    "Default: the plan's, else int8.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="Number of inputs to send; the source is repeated if it has fewer. Default: each input once.",
)
@click.option("--rate", "rate_fps", type=float, help="Inputs a second. Default: the plan's, else as fast as possible.")
@click.option(
    "--weight",
    type=click.FloatRange(0, 1000, min_open=True),
    default=1.0,
    show_default=True,
    expose_value=False,
    callback=surroundings.take_weight,
    help="In a [[stream]] table of --config: this stream's share of the accelerator, or the CPU, against the others'.",
)
@adapting.options
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
    device: str | None,
    source: str,
    cut_name: str | None,
    input_codec: str | None,
    adapting_options: adapting.AdaptingOptions,
    delivery_options: delivery.DeliveryOptions,
    machine: accelerator.AcceleratorOptions,
    monitoring_options: monitoring.MonitoringOptions,
    update_options: updates.UpdateOptions,
    is_json: bool,
    **given: Any,
) -> None:
    """Run the head on inputs and send its output to the cloud.

    Options may also be set in a TOML file (--config) and in the environment (TFLSPLIT_EDGE_<OPTION>).

    The edge ends when the source has no more inputs, after --count inputs, or on SIGTERM, and waits for the answers
    that are still missing. Exit code 1 if the cloud refused frames or did not answer some. With --spool, frames without
    an answer stay on disk and are sent at the next start.

    \b
    Python: tflsplit.Edge("model.tflsplit", "mqtt://localhost", deployment="d", device="n").run("pictures/")
    """
    from edge_runtime import loop

    name, service = (deployment, broker.name(device)), supervision.SupervisedEdge(click.get_current_context())
    service.starting("opening the package")
    opened, plan, cut = planfile.opened_at(pkg, plan_path, {"--cut": cut_name, "--input-codec": input_codec})
    planned, moves_models = plan.batch if plan else 1, bool(update_options.models)
    delivery_options.check_batch(moves_models=moves_models, planned=planned)
    dial = broker.of_pictures(name, waits=service.waits and delivery_options.folder is None)
    settings = _settings(opened, name, api_planfile.settings(plan) | delivery_options.settings(), given, input_codec)
    with (
        update_options.running(opened, cut, name) as model,
        adapting_options.started(model, plan, machine, settings, moves_models=moves_models) as course,
        contextlib.closing(_source(source, model, settings, adapting_options.may_send_pixels(plan), dial)) as inputs,
        monitoring_options.started() as monitored,
        delivery_options.spool(*name) as spool,
        machine.open_head(model.package, model.cut, service.trying, course.get("adaptation"), settings.batch) as head,
        service.proven(head, model.package),
        connection.of_edge(broker, settings, waits=service.waits and not spool) as online,
    ):
        _log_start(model, settings)
        more: dict[str, Any] = {"spool": spool, "rescue": model.rescue, **course}
        more["observers"] = (*service.observers, *monitored.observers, *model.observers)
        edge = loop.Edge(model.package, head, online, settings, **more)
        with (
            model.updated(edge, head, machine, broker),
            monitored.of_edge(edge, online, broker, inputs),
            service.supervised(edge, online, api_planfile.settings(plan)),
        ):
            summary = edge.run(inputs)
    _put_out(edge, summary, service.surroundings, is_json=is_json)


def _put_out(edge: "Edge", summary: "Summary", shared: surroundings.Surroundings, *, is_json: bool) -> None:
    from edge_runtime.delivery import outcome

    shared.ended()
    stream = shared.device
    if is_json:
        screen.as_json({"device": stream} | summary.as_json() if stream else summary.as_json())
    else:
        screen.write(f"{stream}: {summary.in_words(edge.cut.id)}" if stream else summary.in_words(edge.cut.id))
    outcome.check(summary, edge.settings, is_stopped=edge.is_stopping)


def _log_start(model: updates.RunningUpdates, settings: "Settings") -> None:
    from edge_runtime.delivery import framing

    sending = framing.of(model.package, model.cut, *settings.form).as_json()
    keys = ("cut", "layer", "payload_bytes", "uncoded_bytes", "input_codec", "bits")
    template = " ".join(("edge runs", *(f"{key}=%s" for key in keys)))
    log.info(template, *(sending.get(key) for key in keys))


def _source(
    text: str, model: updates.RunningUpdates, settings: "Settings", may_send_pixels: bool, connect: "Connect"
) -> "Source":
    from edge_runtime.delivery import framing
    from edge_runtime.sources import frames

    as_pixels = framing.of(model.package, model.cut, *settings.form).pixels is not None
    reader = f"{settings.deployment}/{settings.device}"
    if may_send_pixels and not as_pixels:
        return frames.open_either(text, model.package.manifest, reader=reader, connect=connect)
    return frames.open_source(text, model.package.manifest, as_pixels=as_pixels, reader=reader, connect=connect)


def _settings(
    package: "Package", name: tuple[str, str], settings: dict[str, Any], given: dict[str, Any], input_codec: str | None
) -> "Settings":
    from edge_runtime.delivery import framing
    from edge_runtime.delivery.settings import Settings

    settings |= {key: value for key, value in given.items() if value is not None}
    if input_codec is not None:
        settings["input_codec"] = coding_input_codec.parse(input_codec)
    made = Settings(*name, **settings)
    framing.check_mask(package, is_wanted=made.wants_mask)
    return made
