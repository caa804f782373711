"""`tflsplit worker`: runs one machine's share of a model that several machines compute together."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import click

from tflsplit.cli.options import connection, units
from tflsplit.cli.options import metrics as options_metrics
from tflsplit.cli.output import examples, screen


@click.command(
    epilog=examples.epilog(
        "tflsplit worker shared/ --name pi2 --broker mqtt://localhost \\\n--deployment shop",
        "tflsplit worker shared/ --credentials clients/pi1 --source camera:0",
    )
)
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@connection.options
@click.option("--name", help="Which machine of the placement this is. Default: the name of --credentials.")
@click.option(
    "--source",
    help="At the machine that has the inputs: what `tflsplit edge --source` takes, as a folder of pictures or "
    "camera:0.",
)
@click.option("--count", type=click.IntRange(min=1), help="At the source: number of inputs; it is repeated for more.")
@click.option("--rate", "rate_fps", type=float, help="At the source: inputs a second. Default: as fast as possible.")
@click.option(
    "--window",
    type=click.IntRange(1, 1024),
    help="At the source: frames on their way at a time. Default: two for each machine that computes.",
)
@click.option(
    "--delivery",
    type=click.Choice(["all", "latest"]),
    default="all",
    show_default=True,
    help="At the source: every input counts, or only the newest.",
)
@click.option(
    "--wait",
    "wait_s",
    type=units.TIME,
    default="30s",
    show_default=True,
    help="At the source: how long machines are waited for before the others begin without them.",
)
@click.option(
    "--lost-after",
    "lost_after_s",
    type=units.TIME,
    default="5s",
    show_default=True,
    help="At the source: a machine that is silent for so long is lost, and others compute its part.",
)
@click.option(
    "--resend-after",
    "resend_after_s",
    type=units.TIME,
    default="10s",
    show_default=True,
    help="At the source: if no frame is answered for so long, all on their way are computed again.",
)
@click.option(
    "--drain",
    "drain_s",
    type=units.TIME,
    default="30s",
    show_default=True,
    help="At the source: how long the end waits for answers that are missing.",
)
@click.option(
    "--allow-inexact",
    "allows_inexact",
    is_flag=True,
    help="At the source: take machines, too, whose kernels may round otherwise.",
)
@click.option(
    "--replan/--no-replan",
    "replans",
    default=True,
    show_default=True,
    help="At the source: look for a better placement where machines are lost, or not as quick as stated.",
)
@click.option(
    "--raw-outputs", "wants_raw", is_flag=True, help="At the source: let results carry the outputs as they are."
)
@click.option(
    "--mask",
    "wants_mask",
    is_flag=True,
    help="At the source, of a model that segments: results have the class of each place, too, as a PNG (key `mask`).",
)
@click.option("--once", "ends_with_source", is_flag=True, help="End when the source has no more inputs.")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="CPU threads of a piece.")
@click.option(
    "--pace",
    metavar="MACS",
    help="Let no piece be quicker than a machine of so many multiply-accumulates a second; or `stated`, than the "
    "machine that the placement was made for. For emulations.",
)
@options_metrics.option
@click.option("--json", "is_json", is_flag=True, help="Print the summary at the end as JSON.")
def command(
    bundle: Path,
    *,
    broker: connection.Broker,
    deployment: str,
    name: str | None,
    source: str | None,
    delivery: str,
    pace: str | None,
    metrics: str | None,
    is_json: bool,
    **more: Any,
) -> None:
    """Run one machine's share of a model.

    BUNDLE is the folder that `tflsplit distribute -o` wrote; all machines get the same. The worker of the machine with
    the inputs takes --source and decides which placement is in force; the one where the outputs are wanted publishes
    results as a cloud does. A machine that dies is worked around, and one that returns is taken back. Machines whose
    addresses were stated to `tflsplit distribute` meet there; others need --broker or --credentials.

    \b
    Python: tflsplit.Worker("shared/", "mqtt://localhost", deployment="d", name="pi2").run()
    """
    from broker.transport.credentials import Role
    from edge_runtime.peers import worker as workers
    from edge_runtime.peers.settings import Settings
    from edge_runtime.sources import frames
    from tflsplit.kernels import keeping
    from tflsplit.placement import folder

    shared = folder.open_folder(bundle)
    own_name = broker.name(name)
    machine = shared.machine(own_name)
    paced = shared.plan.paced(machine, pace)
    settings = Settings(deployment, own_name, is_latest=delivery == "latest", pace=paced, **more)
    stated = shared.plan.url(machine)
    if not broker.urls and stated is not None:
        broker = dataclasses.replace(broker, urls=(stated,))
    with contextlib.ExitStack() as stack:
        observed = stack.enter_context(options_metrics.of_worker(metrics))
        inputs = None
        if source is not None:
            connect = broker.of_pictures((deployment, own_name), Role.WORKER)
            opened = frames.open_source(source, shared.package.manifest, connect=connect)
            inputs = stack.enter_context(contextlib.closing(opened))
        online = stack.enter_context(
            connection.connected(broker, deployment, settings.name, settings.boot, role=Role.WORKER, is_quick=True)
        )
        running = workers.Worker(shared, online, settings, kernel_class=keeping.told())
        if observed is not None:
            observed.attach(running, online)
        with screen.stopped_by_signals(running.stop):
            summary = running.run(inputs)
    screen.as_json(summary.as_json()) if is_json else screen.write(str(summary))
