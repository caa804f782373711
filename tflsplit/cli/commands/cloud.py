"""`tflsplit cloud`: runs the tails of packages for every device of one or more deployments."""

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import cloud_metrics, connection, planfile, supervision, work_queue
from tflsplit.cli.options import metrics as options_metrics
from tflsplit.cli.options import serving as options_serving
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.seeing import printing
from tflsplit.cli.settings import cloud_checks

if TYPE_CHECKING:
    from broker.cloud.engine import Engine, Exchangeable
    from broker.cloud.subscriber import Cloud
    from broker.cloud.summary import Summary
    from broker.transport.protocol import Transport
    from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

# More cuts are counted instead of listed.
_MOST_CUTS = 6


@click.command(
    "cloud",
    cls=cloud_checks.CloudCommand,
    epilog=examples.epilog(
        "tflsplit cloud model.tflsplit --broker mqtt://localhost --deployment shop",
        "tflsplit cloud old.tflsplit new.tflsplit --workers 4 \\\n--credentials clients/cloud",
        "tflsplit cloud --config /etc/tflsplit/cloud.toml",
    ),
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
@printing.observed
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
    printed: printing.Answers | None,
) -> None:
    """Run the tails for the frames of edges, publish results.

    PKG is a package or a cloud bundle. Each frame says which package and which cut it belongs to, so one cloud serves
    every cut, and several packages at a time, for example while devices are updated. Results are published as JSON.

    Options may also be set in a TOML file (--config) and in the environment (TFLSPLIT_CLOUD_<OPTION>). On SIGHUP the
    file is read again, and other packages in it are served from the next frame on.

    \b
    Python: tflsplit.Cloud("model.tflsplit", "mqtt://localhost", deployment="plant1").wait()
    """
    from broker.cloud import engine as engines
    from broker.cloud import serving as clouds_of

    service = supervision.SupervisedCloud(click.get_current_context())
    service.starting("opening the packages")
    deployments, name = deployments or (broker.deployment(None),), broker.name(name, default="cloud")
    share = work_queue.share(queue, serving.share)
    read = partial(_opened, plan_path=plan_path, share=share)
    packages, warm = read(pkgs)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))  # Ray prints what its processes do on stdout
        collected = stack.enter_context(cloud_metrics.started(metrics))
        engine = stack.enter_context(contextlib.closing(engines.Exchangeable(serving.engine(packages, warm))))
        service.starting("connecting to the broker")
        boot = connection.new_boot()
        to_broker = partial(work_queue.connected, queue, broker, name=name, boot=boot, serving=serving)
        connected = partial(to_broker, workers=engine.workers)
        online = {each: stack.enter_context(connected(each)) for each in dict.fromkeys(deployments)}
        clouds, listeners = [], [] if collected is None else [collected]
        for deployment, connections in online.items():
            heard = _heard(connections[1], (deployment, name), boot, packages, serving)
            listeners += heard.values()
            made = _cloud(engine, (deployment, *connections), share, serving, heard, printed=printed)
            clouds.append(stack.enter_context(made))
        _log_start(packages, tuple(online), engine, serving)
        pairs = tuple((cloud, frames) for cloud, (frames, _) in zip(clouds, online.values(), strict=True))
        stack.enter_context(cloud_metrics.of_clouds(collected, packages, engine, pairs, (broker, name, boot)))
        exchange = partial(_exchange, read, serving, listeners, engine)
        with (
            screen.stopped_by_signals(lambda: clouds_of.stop(clouds)),
            cloud_metrics.told(serving.telemetry_s, engine, clouds, online.values(), (name, boot)),
            service.supervised(partial(clouds_of.CloudState, pairs), exchange),
        ):
            clouds_of.run(clouds, count=count, alive=service.alive)
    _put_out({cloud.deployment: cloud.summary for cloud in clouds}, engine, is_json=is_json)


def _put_out(summaries: "dict[str, Summary]", engine: "Engine", *, is_json: bool) -> None:
    from broker.cloud import summary

    if is_json:
        screen.as_json(summary.as_json(summaries, engine.counters))
    else:
        screen.write(str(summary.total(tuple(summaries.values()))))


def _exchange(
    read: "Callable[[tuple[Path, ...]], tuple[list[Package], list[tuple[Package, str]]]]",
    serving: options_serving.ServingOptions,
    listeners: Sequence[Any],
    engine: "Exchangeable",
    pkgs: tuple[Path, ...],
) -> None:
    """Serves other packages; who speaks of them is told."""
    packages, warm = read(pkgs)
    engine.exchange(serving.engine(packages, warm))
    for listener in listeners:
        listener.exchange(packages)


@contextlib.contextmanager
def _cloud(
    engine: "Engine",
    where: "tuple[str, Transport, Transport | None]",
    share: str | None,
    serving: options_serving.ServingOptions,
    heard: dict[str, Any],
    *,
    printed: printing.Answers | None,
) -> "Iterator[Cloud]":
    """A cloud; one whose frames come out of a queue hears of devices beside it."""
    from broker.cloud import subscriber
    from broker.cloud.beside.listening import Beside
    from broker.cloud.turns.shares import Limits

    deployment, frames, around = where
    with contextlib.ExitStack() as stack:
        if frames is not around and around is not None:
            heard = {"beside": stack.enter_context(Beside(engine, around, deployment, **heard))}
        observers = () if printed is None else (printed,)
        heard |= {"drain_s": serving.drain_s, "limits": Limits(device_per_s=serving.device_per_s)}
        yield subscriber.Cloud(engine, frames, deployment, share=share, **heard, observers=observers)


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
