"""The options of `tflsplit cloud` about running tails, and the engine that they describe."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import units
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # help is shown without loading an interpreter
    from broker.cloud.engine import Engine
    from tflsplit.kernels.classes import KernelClass


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """The values of the options. `workers` is None for this process alone; with `ray_address` it means one worker for
    each CPU of that cluster."""

    workers: int | None
    ray_address: str | None
    threads: int
    tail_timeout_s: float
    batch_window_s: float | None
    drain_s: float
    share: str | None
    has_probes: bool = True
    telemetry_s: float | None = None
    device_per_s: float | None = None

    def kernel_class(self) -> "KernelClass | None":
        """Of this machine; None where other machines of a Ray cluster run the tails."""
        from tflsplit.kernels import keeping

        return keeping.told() if self.ray_address is None else None

    def engine(self, packages: "Sequence[Package]", warm: "Sequence[tuple[Package, str]]") -> "Engine":
        """`warm` lists cuts whose tails are loaded before the first frame comes. Packages that never ran here are tried
        first."""
        from broker.cloud import answerer, tail
        from broker.cloud import engine as cloud_engine
        from broker.cloud.turns import streams
        from tflsplit.package import trial

        if self.workers is None and self.ray_address is None and self.batch_window_s is not None:
            raise click.UsageError("--batch-window needs --workers: without, each frame is run when it comes.")
        for package in packages:
            trial.once(package)
        limits: dict[str, Any] = {
            "threads": self.threads,
            "warm": warm,
            "tail_timeout_s": self.tail_timeout_s,
            "batch_window_s": self.batch_window_s,
        }
        if self.ray_address is not None:
            from broker.cloud.workers import ray_actors

            actors = ray_actors.start(packages, self.workers, address=self.ray_address, **limits)
            return streams.around(actors, packages)
        if self.workers is not None:
            from broker.cloud.workers import pool

            return streams.around(pool.Workers(packages, self.workers, **limits), packages)
        tails = [tail.Tails(package, threads=self.threads) for package in packages]
        for package, cut in warm:
            tails[packages.index(package)].open(package.cut(cut))
        return streams.around(cloud_engine.Inline(answerer.Answerer(tails)), packages)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `serving`, a `ServingOptions`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(
        *args: Any,
        workers: int | None,
        engine: str,
        ray_address: str | None,
        threads: int,
        tail_timeout: float,
        batch_window: float | None,
        drain: float,
        share: str | None,
        no_probes: bool,
        telemetry: float | None,
        device_rate: float | None,
        **others: Any,
    ) -> Any:
        if ray_address is not None and engine != "ray":
            raise click.UsageError("--ray-address goes with --engine ray.")
        ray_address = (ray_address or "auto") if engine == "ray" else None
        waits = (tail_timeout, batch_window, drain)
        serving = ServingOptions(workers, ray_address, threads, *waits, share, not no_probes, telemetry, device_rate)
        return function(*args, serving=serving, **others)

    for option in _OPTIONS:
        command = option(command)
    return command


_POSITIVE = click.IntRange(min=1)
_OPTIONS = (
    click.option(
        "--device-rate",
        metavar="NUMBER",
        type=click.FloatRange(min=0, min_open=True),
        help="Frames a second that each device may send; what comes sooner is refused as busy, with this number, and "
        "its edge sends it again later. Default: no bound.",
    ),
    click.option(
        "--telemetry",
        type=units.time(least="1s"),
        help="Publish queue, workers and times at this interval, for `tflsplit watch`. Default: never.",
    ),
    click.option(
        "--no-probes",
        is_flag=True,
        help="Devices that --adapt send nothing to measure their links, as if each had --no-probes: where data cost "
        "money.",
    ),
    click.option(
        "--share",
        metavar="GROUP",
        help="Divide the frames among all clouds with the same GROUP. Default: each cloud gets every frame.",
    ),
    click.option(
        "--drain",
        type=units.TIME,
        default="10s",
        show_default=True,
        help="When the cloud stops: time to finish the frames that it has already.",
    ),
    click.option(
        "--batch-window",
        type=units.time(most="1s"),
        help="With --workers: a frame waits up to this long for others of its cut, for example 5ms, and they run "
        "together where that is faster. Default: no waiting.",
    ),
    click.option(
        "--tail-timeout",
        type=units.time(least="1ms"),
        default="60s",
        show_default=True,
        help="Time that a tail may take. After it its worker counts as hung and is replaced.",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="With --engine ray: HOST:PORT of the cluster. Default: the one on this machine.",
    ),
    click.option(
        "--engine",
        type=click.Choice(("local", "ray")),
        default="local",
        show_default=True,
        help="Where tails run: local is this machine; ray is a Ray cluster that runs already, on all its CPUs "
        "unless --workers is given.",
    ),
    click.option("--threads", type=_POSITIVE, default=1, show_default=True, help="CPU threads that run one tail."),
    click.option(
        "--workers",
        type=_POSITIVE,
        help="Number of processes that run tails. Default: none; this process runs one frame at a time.",
    ),
)
