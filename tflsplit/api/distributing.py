"""One network shared over several machines: planned, proved, and written for them."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from tflsplit import arguments, errors, quantities, text
from tflsplit.api import packages
from tflsplit.arguments import PathLike
from tflsplit.graph import indices
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.placement import distribution, machines, planfile, running
from tflsplit.placement.distribution import Distribution
from tflsplit.placement.machines import Cluster
from tflsplit.placement.planfile import PlacementPlan
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching.search import Objective

# VGG-16 in 4.54 s on the Coral board's CPU: 15.5 billion multiply-accumulates.
_SPEED = 3.4e9
_PROOFS = 3
PLAN_NAME = "placement.json"


def distribute(
    pkg: PathLike | Package,
    *,
    machines: PathLike | Cluster | None = None,
    devices: int | None = None,
    speed: float = _SPEED,
    bandwidth: str | float = "100Mbit",
    delay: str | float = 0.0,
    shared: bool = False,
    max_memory: str | float | None = None,
    objective: str = "latency",
) -> Distribution:
    """How to share the model of `pkg` over machines so that the result is what the whole gives, bit for bit.

    `machines` is a file that describes them (docs/sharing.md), or so many `devices` alike, of a `speed` in
    multiply-accumulates a second, on links of `bandwidth` (bit/s) that are each one's own or, with `shared`, one for
    all. `max_memory` bounds each machine's weights and features. `objective` is latency, throughput, bytes, memory or
    energy. What is found is run in this process on random inputs; PackageError where it is not bit-exact.
    """
    opened = packages.open(pkg)
    if opened.manifest.is_stateful:
        raise errors.SettingsError(
            f"{opened.path}: it is stateful, and what machines share keeps no state between frames"
        )
    cluster = _cluster(machines, devices, speed=speed, bandwidth=bandwidth, delay=delay, shared=shared)
    if max_memory is not None:
        cluster = _bounded(cluster, quantities.parse_bytes(max_memory, "max_memory"))
    wanted = Objective(arguments.one_of(objective, [each.value for each in Objective], "objective"))
    network = Network(opened.graph)
    found = distribution.distribute(network, cluster, wanted)
    _prove(opened, network, found)
    return found


def check_free(folder: Path | None, *, replaces_existing: bool) -> None:
    """SettingsError if it is taken; long work is better refused before it begins."""
    if folder is not None and folder.exists() and not replaces_existing:
        raise errors.SettingsError(f"{folder} exists already; give another name, or --force to replace it")


def write(found: Distribution, pkg: PathLike | Package, out: PathLike, *, force: bool = False) -> Path:
    """A folder with the plan, and for each machine its pieces, `stageNN.tflite` with the stage's number."""
    opened, folder = packages.open(pkg), arguments.path(out, "out")
    check_free(folder, replaces_existing=force)
    network, partial = Network(opened.graph), folder.with_name(f".{folder.name}.partial")
    with errors.disk_errors(folder, errors.NOTHING_LEFT):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            (partial / PLAN_NAME).write_text(planfile.render(_plan(found, opened, folder)), encoding="utf-8")
            for number, step in enumerate(found.schedule.steps):
                for machine, piece in zip(found.cluster.machines, step.pieces, strict=True):
                    if piece is not None:
                        (partial / machine.name).mkdir(exist_ok=True)
                        target = partial / machine.name / f"stage{number:02d}.tflite"
                        target.write_bytes(pieces.model(network, piece))
            if folder.exists():
                shutil.rmtree(folder)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


def _plan(found: Distribution, opened: Package, folder: Path) -> PlacementPlan:
    expected = found.as_json()
    return PlacementPlan(
        package_digest=opened.digest,
        package_name=opened.manifest.name,
        package_path=os.path.relpath(opened.path, folder),
        machines=tuple(machine.name for machine in found.cluster.machines),
        source=found.cluster.source,
        sink=found.cluster.sink,
        stages=planfile.stages_of(found.placement),
        objective=found.objective.value,
        reason=found.reason,
        expected={name: expected[name] for name in ("latency_ms", "frames_per_s", "bytes_exchanged")},
    )


def _cluster(
    given: PathLike | Cluster | None,
    devices: int | None,
    *,
    speed: float,
    bandwidth: str | float,
    delay: str | float,
    shared: bool,
) -> Cluster:
    if (given is None) == (devices is None):
        raise errors.SettingsError("give --machines FILE or --devices N, one of the two")
    if isinstance(given, Cluster):
        return given
    if given is not None:
        return machines.read(arguments.path(given, "machines"))
    count = arguments.instance(devices, int, "devices")
    if not 1 <= count <= 64:
        raise errors.SettingsError(f"devices of {count}: give 1 to 64")
    bps, delay_s = quantities.parse_bandwidth(bandwidth), quantities.parse_duration(delay, "delay")
    return machines.even(count, float(speed), bps, delay_s=delay_s, is_shared=shared)


def _bounded(cluster: Cluster, most: float) -> Cluster:
    bounded = tuple(replace(each, memory_bytes=min(each.memory_bytes, most)) for each in cluster.machines)
    return replace(cluster, machines=bounded)


def _prove(opened: Package, network: Network, found: Distribution) -> None:
    samples = verify.random_samples(opened.manifest.inputs, _PROOFS, table_sizes=indices.table_sizes(opened.graph))
    with Interpreter(opened.model_bytes(), name=f"{opened.path}/model.tflite") as whole:
        for sample in samples:
            made = running.run(network, found.placement, found.schedule, sample)
            for expected, part in zip(whole.run(*sample), made, strict=True):
                if expected.tobytes() != part.tobytes():
                    raise errors.PackageError(
                        f"{opened.path}: the shared model does not give what the whole gives "
                        f"({text.counted(int(np.count_nonzero(expected != part)), 'element')} differ); "
                        "kernels of this runtime round parts otherwise, so it is not shared"
                    )
