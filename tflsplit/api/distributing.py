"""One network shared over several machines: planned, proved, and written for them."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from tflsplit import arguments, bundle, errors, quantities
from tflsplit.api import files, packages
from tflsplit.arguments import PathLike
from tflsplit.chains import comparison
from tflsplit.chains.pipeline import Planned
from tflsplit.graph import indices
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify, writing
from tflsplit.package.reading import Package
from tflsplit.placement import distribution, exactness, machines, measured, placement, planfile, stated
from tflsplit.placement import folder as folders
from tflsplit.placement.distribution import Distribution
from tflsplit.placement.exactness import Proof
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Placement, Schedule
from tflsplit.placement.planfile import PlacementPlan
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching.search import Objective
from tflsplit.planning import planfile as naming
from tflsplit.values.classes import replace

# VGG-16 in 4.54 s on the Coral board's CPU: 15.5 billion multiply-accumulates.
_SPEED = 3.4e9
_PROOFS = 3
PLAN_NAME = folders.PLAN_NAME


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
    allow_inexact: bool = False,
) -> Distribution:
    """How to share the model of `pkg` over machines so that the result is what the whole gives, bit for bit.

    `machines` is a file that describes them (docs/sharing.md), or so many `devices` alike, of a `speed` in
    multiply-accumulates a second, on links of `bandwidth` (bit/s) that are each one's own or, with `shared`, one for
    all. `max_memory` bounds each machine's weights and features. `objective` is latency, throughput, bytes, memory or
    energy. What is found is run in this process on random inputs. PackageError where it is not bit-exact, or would not
    be on machines whose kernels are known to differ, unless `allow_inexact`: then `proof` says by how much.
    """
    opened = packages.open(pkg)
    _check_stateless(opened)
    cluster = _cluster(opened, machines, devices, speed=speed, bandwidth=bandwidth, delay=delay, shared=shared)
    if max_memory is not None:
        cluster = _bounded(cluster, quantities.parse_bytes(max_memory, "max_memory"))
    wanted = Objective(arguments.one_of(objective, [each.value for each in Objective], "objective"))
    network = Network(opened.graph)
    found = distribution.distribute(network, cluster, wanted, with_sums=exactness.can_add(cluster))
    proof = _prove(opened, network, found)
    if not (proof.is_exact or allow_inexact):
        raise errors.PackageError(
            f"{opened.path}: the shared model would not give what the whole gives ({proof}), so it is not shared; "
            "--allow-inexact shares it all the same"
        )
    return replace(found, proof=proof)


def _check_stateless(opened: Package) -> None:
    if opened.manifest.is_stateful:
        raise errors.SettingsError(
            f"{opened.path}: it is stateful, and what machines share keeps no state between frames"
        )


def check_free(folder: Path | None, *, replaces_existing: bool) -> None:
    """SettingsError if it is taken; long work is better refused before it begins."""
    if folder is not None and folder.exists() and not replaces_existing:
        raise errors.SettingsError(f"{folder} exists already; give another name, or --force to replace it")
    if folder is not None:
        writing.check_folder_of(folder)


def write(found: Distribution, pkg: PathLike | Package, out: PathLike, *, force: bool = False) -> Path:
    """A folder for all machines (`tflsplit.placement.folder`): the plan, the package's model, and each one's pieces."""
    opened, folder = packages.open(pkg), arguments.path(out, "out")
    _write_placement(opened, _plan(found, opened, folder), found.schedule, folder, force=force)
    return folder


def write_report(found: Distribution, pkg: PathLike | Package, out: PathLike, *, force: bool = False) -> None:
    """A page with charts, in one HTML file; one that is there already is replaced with `force` only."""
    from tflsplit.report.sharing import page

    files.write_whole(files.free(out, force), page.render(found, packages.open(pkg)))


def write_chain(planned: Planned, folder: Path, *, force: bool = False) -> None:
    """The same of a chain's plan, a stage for each machine that runs a part of the model."""
    opened, outcome = planned.package, planned.outcome
    _check_stateless(opened)
    network, names = Network(opened.graph), tuple(planned.machines)
    for name in names:
        machines.check_name(name)
    ends = [opened.cut(place).position for place in outcome.chain.places]
    pick = outcome.pick
    placed = Placement(
        len(names),
        tuple(
            placement.whole_stage(network, ends[piece.start], ends[piece.stop], piece.stage, len(names))
            for piece in pick.shares
        ),
        sink=pick.pieces[-1].stage,
    )
    scheduled = placement.schedule(network, placed)
    plan = PlacementPlan(
        **naming.naming(opened, folder),
        machines=names,
        source=placed.source,
        sink=placed.sink,
        stages=planfile.stages_of(placed),
        objective=outcome.objective.value,
        reason=comparison.reason(outcome),
        expected={
            "latency_ms": pick.latency_s * 1e3,
            "frames_per_s": 1 / pick.slowest_s if pick.slowest_s else None,
            "bytes_exchanged": scheduled.bytes_exchanged,
        },
    )
    _write_placement(opened, plan, scheduled, folder, force=force)


def _write_placement(opened: Package, plan: PlacementPlan, scheduled: Schedule, folder: Path, *, force: bool) -> None:
    check_free(folder, replaces_existing=force)
    network, partial = Network(opened.graph), folder.with_name(f".{folder.name}.partial")
    with errors.disk_errors(folder, errors.NOTHING_LEFT):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            files = write_pieces(network, plan.machines, scheduled, partial)
            bundle.write_model(partial / folders.PACKAGE_NAME, opened)
            plan = replace(plan, files=files, package_path=folders.PACKAGE_NAME)
            (partial / PLAN_NAME).write_text(planfile.render(plan), encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def write_pieces(network: Network, names: Sequence[str], scheduled: Schedule, folder: Path) -> dict[str, str]:
    """All machines' pieces; gives the digest of each by its path in the folder."""
    files = {}
    for number, step in enumerate(scheduled.steps):
        for place, machine in enumerate(names):
            for piece in step.run_by(place):
                (folder / machine).mkdir(exist_ok=True)
                name, made = f"{machine}/{pieces.file_name(number, piece)}", pieces.model(network, piece)
                (folder / name).write_bytes(made)
                files[name] = hashlib.sha256(made).hexdigest()
    return files


def _plan(found: Distribution, opened: Package, folder: Path) -> PlacementPlan:
    expected = found.as_json()
    return PlacementPlan(
        **naming.naming(opened, folder),
        machines=tuple(machine.name for machine in found.cluster.machines),
        source=found.cluster.source,
        sink=found.cluster.sink,
        stages=planfile.stages_of(found.placement),
        objective=found.objective.value,
        reason=found.reason,
        expected={name: expected[name] for name in ("latency_ms", "frames_per_s", "bytes_exchanged")},
        cluster=stated.as_json(found.cluster),
    )


def _cluster(
    opened: Package,
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
        return machines.read(arguments.path(given, "machines"), lambda path: measured.read(path, opened))
    count = arguments.instance(devices, int, "devices")
    if not 1 <= count <= 64:
        raise errors.SettingsError(f"devices of {count}: give 1 to 64")
    bps, delay_s = quantities.parse_bandwidth(bandwidth), quantities.parse_duration(delay, "delay")
    return machines.even(count, float(speed), bps, delay_s=delay_s, is_shared=shared)


def _bounded(cluster: Cluster, most: float) -> Cluster:
    bounded = tuple(replace(each, memory_bytes=min(each.memory_bytes, most)) for each in cluster.machines)
    return replace(cluster, machines=bounded)


def _prove(opened: Package, network: Network, found: Distribution) -> Proof:
    samples = verify.random_samples(opened.manifest.inputs, _PROOFS, table_sizes=indices.table_sizes(opened.graph))
    with Interpreter(opened.model_bytes(), name=f"{opened.path}/model.tflite") as whole:
        placed, scheduled = found.placement, found.schedule
        return exactness.prove(network, placed, scheduled, found.cluster, whole=whole, samples=samples)
