"""A placement and the simple ways beside it, each run on emulated machines, predicted, and compared with the whole."""

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from broker.links import namespace
from tflsplit import errors
from tflsplit.api import distributing
from tflsplit.cli.trials.emulation import stage
from tflsplit.cli.trials.emulation.stage import Ran
from tflsplit.cli.trials.sharing import whole
from tflsplit.cli.trials.sharing.whole import Whole
from tflsplit.placement import cost, folder, letters, machines, measured, placement, planfile, recovery, stated
from tflsplit.placement.cost import Costs
from tflsplit.placement.folder import Shared
from tflsplit.placement.machines import Cluster, Machine, Medium
from tflsplit.placement.placement import Placement, Schedule
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import schemes
from tflsplit.values.classes import dataclass, replace

THIS, CHANNELS = "this placement", "output_channels"
BESIDE = (CHANNELS, schemes.ONE_MACHINE)
_BPS = 100e6
# What is neither: counted, and the same on real machines; or a time, of real programs over real links at stated paces.
ORIGINS = {
    "exact": ["bytes_exchanged", "memory_per_machine", "macs_per_machine", "results", "wrong"],
    "emulated": ["latency_ms.emulated", "frames_per_s.emulated", "late", "over_one_machine", "over_output_channels"],
    "computed": ["latency_ms.predicted", "frames_per_s.predicted"],
    "measured here": ["process_memory_per_machine"],
}


@dataclass(frozen=True, slots=True)
class Row:
    """One placement. All was `slowed` so many times while it ran. `late` is by how much computing took longer than its
    pace, as a share: this machine was too slow or too busy where it is not about 0. `wrong` are results that are not
    the whole model's."""

    costs: Costs
    latency_s: float
    frames_per_s: float
    predicted_per_s: float
    results: int
    wrong: int
    slowed: int
    late: float
    peak_bytes: Mapping[str, int]

    def as_json(self, names: tuple[str, ...]) -> dict[str, object]:
        return {
            "latency_ms": {"emulated": self.latency_s * 1e3, "predicted": self.costs.latency_s * 1e3},
            "frames_per_s": {"emulated": self.frames_per_s, "predicted": self.predicted_per_s},
            "bytes_exchanged": self.costs.bytes_exchanged,
            "macs_per_machine": dict(zip(names, self.costs.macs, strict=True)),
            "memory_per_machine": dict(zip(names, self.costs.memory_bytes, strict=True)),
            "process_memory_per_machine": dict(self.peak_bytes),
            "results": self.results,
            "wrong": self.wrong,
            "slowed": self.slowed,
            "late": self.late,
        }


@dataclass(frozen=True, slots=True)
class _Slowed:
    """Machines and links so many times as slow as stated: what programs do besides computing then has as much of a
    processor for each machine as if each had one of this machine's. All times are divided by it afterwards."""

    cluster: Cluster
    times: int


@dataclass(frozen=True, slots=True)
class Emulated:
    """`rows` by name, this placement first."""

    package: str
    cluster: Cluster
    window: int
    rows: Mapping[str, Row]

    def over(self, name: str) -> float | None:
        """How many times as quick as that way; with several frames on their way, how many times as many a second."""
        if name not in self.rows:
            return None
        ours, other = self.rows[THIS], self.rows[name]
        return other.latency_s / ours.latency_s if self.window == 1 else ours.frames_per_s / other.frames_per_s

    @property
    def wrong(self) -> int:
        return sum(row.wrong for row in self.rows.values())

    @property
    def answer(self) -> str:
        medium, gain = self.cluster.medium, self.over(schemes.ONE_MACHINE)
        where = f"at {medium.bandwidth_bps / 1e6:g} Mbit/s{', one medium for all' if medium.is_shared else ''}"
        if gain is None:
            return f"{self.package} {where}: {self.rows[THIS].latency_s * 1e3:.1f} ms (emulated)"
        what = "as fast as" if self.window == 1 else "as many frames a second as"
        verdict = "gains" if gain > 1 else "loses"
        advice = "" if gain > 1 else "; one machine is better, or another placement: distribute for this link"
        return f"{self.package} {verdict} {where}: {gain:.2f} times {what} one machine (emulated){advice}"

    def as_json(self) -> dict[str, object]:
        names, gain = tuple(each.name for each in self.cluster.machines), self.over(schemes.ONE_MACHINE)
        return {
            "package": self.package,
            "answer": self.answer,
            "cluster": stated.as_json(self.cluster),
            "window": self.window,
            "placements": {name: row.as_json(names) for name, row in self.rows.items()},
            "over_one_machine": gain,
            "over_output_channels": self.over(CHANNELS),
            "gains": None if gain is None else gain > 1,
            "wrong": self.wrong,
            "origins": ORIGINS,
        }


def run(
    bundle: Path,
    *,
    bandwidth_bps: float | None = None,
    pace: str | None = None,
    over: str | None = None,
    frames: int = 5,
    window: int = 1,
    beside: Sequence[str] = BESIDE,
    on_row: Callable[[str], None] = lambda _: None,
) -> Emulated:
    """The folder's placement, and the simple ways `beside` it by their names in `schemes`. `pace` is
    multiply-accumulates a second or the file of a profile, `over` one of `machines.TRANSPORTS`; what is None is as
    stated when the placement was made.

    DeviceError without root or what namespaces need.
    """
    shared = folder.open_folder(bundle)
    cluster = _cluster(shared, bandwidth_bps, pace)
    if over is not None:
        is_relayed = machines.TRANSPORTS[over]
        cluster = replace(cluster, medium=replace(cluster.medium, is_relayed=is_relayed))
    network = Network(shared.package.graph)
    ways = {THIS: shared.plan.placement()}
    if beside:
        simple = schemes.of(network, cluster)
        ways |= {name: simple[name] for name in beside}
    rows: dict[str, Row] = {}
    namespace.check_possible()
    with tempfile.TemporaryDirectory(prefix="tflsplit-emulate-") as place:
        inputs = whole.write(shared, Path(place) / "inputs.npz")
        for name, placed in ways.items():
            on_row(name)
            schedule = placement.schedule(network, placed)
            slowed = _slowed(cluster, math.ceil(len(recovery.used(placed)) / (os.cpu_count() or 1)))
            given = _written(shared, slowed.cluster, placed, schedule, Path(place) / name.replace(" ", "_"))
            with stage.joined(slowed.cluster) as way:
                ran = stage.run(given, way, inputs.source, frames=frames + window, window=window)
            rows[name] = _row(ran, cost.of(schedule, cluster), schedule, slowed, inputs)
    return Emulated(shared.package.manifest.name, cluster, window, rows)


def _cluster(shared: Shared, bandwidth_bps: float | None, pace: str | None) -> Cluster:
    plan = shared.plan
    cluster = plan.stated
    if cluster is None:
        if pace is None:
            raise errors.SettingsError(f"{shared.path}: this placement states no speeds of its machines; give --pace")
        cluster = Cluster(tuple(Machine(name, 1.0) for name in plan.machines), Medium(_BPS), plan.source, plan.sink)
    if bandwidth_bps is not None:
        alike = tuple(replace(each, bandwidth_bps=np.inf) for each in cluster.machines)
        cluster = replace(cluster, machines=alike, medium=replace(cluster.medium, bandwidth_bps=bandwidth_bps))
    if pace is None:
        return cluster
    speed: dict[str, Any]
    if Path(pace).is_file():
        timed = measured.read(Path(pace), shared.package)
        speed = {"macs_per_s": timed.macs_per_s, "operator_s": timed.operator_s, "piece_s": timed.piece_s}
    else:
        try:
            speed = {"macs_per_s": float(pace), "operator_s": ()}
        except ValueError as problem:
            raise errors.SettingsError(
                f"pace is {pace!r}: give multiply-accumulates a second, as 3.4e9, or the file of a profile"
            ) from problem
    return replace(cluster, machines=tuple(replace(each, **speed) for each in cluster.machines))


def _slowed(cluster: Cluster, times: int) -> _Slowed:
    machines = tuple(
        replace(
            each,
            macs_per_s=each.macs_per_s / times,
            operator_s=tuple(seconds * times for seconds in each.operator_s),
            bandwidth_bps=each.bandwidth_bps / times,
        )
        for each in cluster.machines
    )
    medium = replace(cluster.medium, bandwidth_bps=cluster.medium.bandwidth_bps / times)
    return _Slowed(replace(cluster, machines=machines, medium=medium), times)


def _written(shared: Shared, cluster: Cluster, placed: Placement, schedule: Schedule, target: Path) -> Shared:
    """A folder like the shared one, for that placement and these machines. What is there already is not copied."""
    target.mkdir()
    is_there = placed == shared.plan.placement()
    names = shared.plan.machines
    for name in (folder.PACKAGE_NAME, *(names if is_there else ())):
        if (shared.path / name).exists():
            os.symlink((shared.path / name).resolve(), target / name)
    files = shared.plan.files
    if not is_there:
        files = distributing.write_pieces(Network(shared.package.graph), names, schedule, target)
    plan = replace(
        shared.plan, stages=planfile.stages_of(placed), cluster=stated.as_json(cluster), files=files, expected={}
    )
    (target / folder.PLAN_NAME).write_text(planfile.render(plan), encoding="utf-8")
    return folder.open_folder(target)


def _row(ran: Ran, costs: Costs, schedule: Schedule, slowed: _Slowed, inputs: Whole) -> Row:
    # Those before fill the machines, and their kernels' caches.
    counted = [result.times for _, result in sorted(ran.answers.items())[ran.window :]]
    took_ms = np.median([times.sent_ms - times.captured_ms for times in counted])
    first_ms = ran.answers[ran.window - 1].times.sent_ms
    return Row(
        costs=costs,
        latency_s=float(took_ms) / 1e3 / slowed.times,
        frames_per_s=len(counted) / (counted[-1].sent_ms - first_ms) * 1e3 * slowed.times,
        predicted_per_s=1 / (costs.latency_s if ran.window == 1 else costs.busy_s),
        results=len(ran.answers),
        wrong=inputs.wrong(ran.answers.values()),
        slowed=slowed.times,
        late=_late(ran, schedule, slowed.cluster),
        peak_bytes=ran.peak_bytes,
    )


def _late(ran: Ran, schedule: Schedule, cluster: Cluster) -> float:
    """By the median of each piece: the first frames prepare kernels."""
    planned_ms = took_ms = 0.0
    for each, machine in enumerate(cluster.machines):
        for told in ran.summaries.get(machine.name, {}).get("steps", ()):
            if told["phase"] == letters.Phase.DELIVER.name.lower():
                continue
            step = schedule.steps[told["stage"]]
            piece = (step.finishes if told["phase"] == letters.Phase.FINISH.name.lower() else step.pieces)[each]
            planned_ms += 0.0 if piece is None else cost.run_s(piece, machine) * 1e3
            took_ms += told["compute_ms"]["p50"]
    return took_ms / planned_ms - 1 if planned_ms else 0.0
