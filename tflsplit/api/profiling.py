"""How long every cut takes on this machine."""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tflsplit import arguments, errors, strict_json
from tflsplit.api import files, packages
from tflsplit.arguments import PathLike
from tflsplit.graph.tensors import Array
from tflsplit.package import trial
from tflsplit.package.reading import Package
from tflsplit.timings import profiles
from tflsplit.timings.profiles import Profile, Side

if TYPE_CHECKING:
    from broker.transport.protocol import Transport


def profile(
    pkg: PathLike | Package,
    side: str | Side,
    out: PathLike | None = None,
    *,
    samples: "PathLike | Array | Sequence[Array] | None" = None,
    accelerator: str = "cpu",
    threads: int = 1,
    budget: float = 20.0,
    precision: float = 0.02,
    jpeg_quality: int = 75,
    batch: int = 1,
    force: bool = False,
    on_measurement: Callable[[str], None] = lambda cut: None,
) -> Profile:
    """Time the head ("edge") or the tail ("cloud") of every cut on this machine, for `plan`.

    With `out` the profile is also written to that file, and a run that was killed goes on where it was. `samples` are
    inputs as for `verify`; without them random ones are taken, and the profile says so. `budget` is in seconds,
    `precision` how closely a median is to be known, as a share of it. With a `batch` frames hold so many inputs; cuts
    that do not take them are left out, and the profile's notes name them.
    """
    from edge_runtime.profiling import pixel_costs, profiler
    from edge_runtime.sources import frames
    from tflsplit.api import accelerators

    wanted = Side(arguments.one_of(side, [each.value for each in Side], "side"))
    destination = None if out is None else arguments.path(out, "out")
    if destination is not None:
        files.check_free(destination, replaces_existing=arguments.instance(force, bool, "force"))
    settings = profiler.Settings(budget_s=budget, precision=precision)
    opened = packages.open(pkg)
    source = None if samples is None else frames.open_source(samples, opened.manifest)
    machine = accelerators.chosen(accelerator, opened, opened.cuts[-1], threads=threads)
    if wanted is Side.CLOUD and machine.is_external:
        raise errors.SettingsError(f"accelerator {accelerator}: tails run on the CPU; give it with side edge")
    pixels = None if samples is None else pixel_costs.open_pixels(samples, opened)
    trial.once(opened)
    task = profiler.Task(
        opened, wanted, machine, source, threads, pixels, jpeg_quality, arguments.instance(batch, int, "batch")
    )
    with _journal_of(destination) as journal:
        made = profiler.profile(task, journal, settings, on_measurement=on_measurement, answered=_answered)
        if destination is not None:
            files.write_whole(destination, profiles.render(made))
            journal.unlink(missing_ok=True)
    return made


@contextlib.contextmanager
def _answered(result: bytes) -> "Iterator[Transport]":
    """A connection to a process of this machine that answers every frame with that result."""
    from broker.links import loopback
    from broker.mqtt.transport import MqttTransport

    with (
        _unlogged("broker"),
        loopback.serving(strict_json.parse_object(result)) as port,
        MqttTransport(f"mqtt://127.0.0.1:{port}", client_id="tflsplit-profile") as transport,
    ):
        transport.connect()
        yield transport


@contextlib.contextmanager
def _unlogged(package: str) -> Iterator[None]:
    """Nothing of what that package logs for information: who profiles asked for no broker, and need not read of one."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _journal_of(destination: Path | None) -> Iterator[Path]:
    """Where the measurements are kept until they are a profile: beside its file, which may be begun again."""
    if destination is not None:
        yield destination.with_name(f"{destination.name}.partial")
        return
    with tempfile.TemporaryDirectory(prefix="tflsplit-") as scratch:
        yield Path(scratch) / "profile.partial"
