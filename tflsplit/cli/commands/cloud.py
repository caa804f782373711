"""`tflsplit cloud`: runs the tails of packages for every device of one or more deployments."""

import contextlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import cloud_metrics, connection, planfile, work_queue
from tflsplit.cli.options import metrics as options_metrics
from tflsplit.cli.options import serving as options_serving
from tflsplit.cli.output import examples, screen

if TYPE_CHECKING:
    from broker.cloud.engine import Engine
    from broker.transport.protocol import Transport
    from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

# More cuts are counted instead of listed.
_MOST_CUTS = 6


@click.command(
    epilog=examples.epilog(
        "tflsplit cloud model.tflsplit --broker mqtt://localhost --deployment shop",
        "tflsplit cloud old.tflsplit new.tflsplit --workers 4 \\\n--credentials clients/cloud",
    )
)
@click.argument("pkgs", metavar="[PKG]...", nargs=-1, type=click.Path(path_type=Path))
@planfile.option
@connection.broker_options
@work_queue.option
@click.option(
    "--deployment",
    "deployments",
    multiple=True,
    help="Name of the deployment whose devices this cloud serves. Repeat it to serve several deployments. "
    "Default: that of --credentials.",
)
@click.option(
    "--name",
    help="Name of this cloud, different from that of any other client. Default: that of --credentials, else cloud.",
)
@options_serving.options
@options_metrics.option
@click.option(
    "--count", type=click.IntRange(min=1), help="Stop after this number of results. Default: run until SIGTERM."
)
@click.option("--json", "is_json", is_flag=True, help="Print the summary at the end as JSON.")
def command(
    pkgs: tuple[Path, ...],
    *,
    plan_path: Path | None,
    broker: connection.Broker,
    queue: str | None,
    deployments: tuple[str, ...],
    name: str | None,
    serving: options_serving.ServingOptions,
    metrics: str | None,
    count: int | None,
    is_json: bool,
) -> None:
    """Run the tails for the frames of edges, publish results.

    PKG is a package or a cloud bundle. Each frame says which package and which cut it belongs to, so one cloud serves
    every cut, and several packages at a time, for example while devices are updated. Results are published as JSON.

    \b
    Python: tflsplit.Cloud("model.tflsplit", "mqtt://localhost", deployment="plant1").wait()
    """
    from broker.cloud import serving as clouds_of
    from broker.cloud import subscriber, summary
    from broker.cloud.beside.listening import Beside

    deployments, name = deployments or (broker.deployment(None),), broker.name(name, default="cloud")
    share = work_queue.share(queue, serving.share)
    packages, warm = _opened(pkgs, plan_path, share)
    with contextlib.ExitStack() as stack:
        # Ray prints the output of its processes on stdout, where only our summary belongs.
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        collected = stack.enter_context(cloud_metrics.started(metrics))
        engine = stack.enter_context(contextlib.closing(serving.engine(packages, warm)))
        boot = connection.new_boot()
        online = {
            deployment: stack.enter_context(
                work_queue.connected(queue, broker, deployment, name, boot, serving=serving, workers=engine.workers)
            )
            for deployment in dict.fromkeys(deployments)
        }
        clouds = []
        for deployment, (frames, around) in online.items():
            heard = _heard(around, (deployment, name), boot, packages, serving)
            if frames is not around and around is not None:
                heard = {"beside": stack.enter_context(Beside(engine, around, deployment, **heard))}
            clouds.append(subscriber.Cloud(engine, frames, deployment, share=share, **heard, drain_s=serving.drain_s))
        _log_start(packages, tuple(online), engine, serving)
        pairs = tuple((cloud, frames) for cloud, (frames, _) in zip(clouds, online.values(), strict=True))
        stack.enter_context(cloud_metrics.of_clouds(collected, packages, engine, pairs, (broker, name, boot)))
        with screen.stopped_by_signals(lambda: clouds_of.stop(clouds)):
            clouds_of.run(clouds, count=count)
    summaries = {cloud.deployment: cloud.summary for cloud in clouds}
    if is_json:
        screen.as_json(summary.as_json(summaries, engine.counters))
    else:
        screen.write(str(summary.total(tuple(summaries.values()))))


def _heard(
    transport: "Transport | None",
    speaker: tuple[str, str],
    boot: int,
    packages: "Sequence[Package]",
    serving: options_serving.ServingOptions,
) -> dict[str, Any]:
    """What a cloud learns of other clouds, and of the kernels of its devices: from messages that a broker of MQTT
    retains."""
    from broker.cloud import exactness, peers

    if transport is None:
        return {}
    kernel_class = serving.kernel_class()
    return {
        "peers": peers.of(transport, speaker, boot, packages, kernel_class, allows_probes=serving.has_probes),
        "exactness": exactness.Exactness(transport, speaker[0], packages, kernel_class),
    }


def _log_start(
    packages: "list[Package]",
    deployments: tuple[str, ...],
    engine: "Engine",
    serving: options_serving.ServingOptions,
) -> None:
    log.info(
        "cloud serves deployment=%s package=%s cuts=%s workers=%s batch_window_s=%s share=%s kernels=%s",
        ",".join(deployments),
        ",".join(f"{package.manifest.name}:{package.digest[:16]}" for package in packages),
        ";".join(map(_cuts, packages)),
        engine.workers,
        serving.batch_window_s,
        serving.share,
        serving.kernel_class(),
    )


def _cuts(package: "Package") -> str:
    """The cuts whose tails are here: a bundle has a few, a package as a rule all."""
    found = [cut.id for cut in package.cuts if package.has(cut, "tail")]
    return ",".join(found) if len(found) <= _MOST_CUTS else f"{len(found)} ({found[0]} to {found[-1]})"


def _opened(
    pkgs: tuple[Path, ...], plan_path: Path | None, share: str | None
) -> "tuple[list[Package], list[tuple[Package, str]]]":
    """The packages, and of a plan its package and cut, whose tail is loaded at the start."""
    from broker.cloud.turns import streams

    if plan_path is not None and len(pkgs) > 1:
        raise click.UsageError("--plan goes with one package: give the others without it.")
    if len(pkgs) <= 1:
        opened, plan = planfile.opened(pkgs[0] if pkgs else None, plan_path)
        packages, warm = [opened], [] if plan is None else [(opened, plan.cut)]
    else:
        packages, warm = [planfile.opened(pkg, None)[0] for pkg in pkgs], []
    streams.check_alone(packages, share)
    return packages, warm
