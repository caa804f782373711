"""Policies that move the cut, over all traces at hand, in model time: what each takes over an oracle that knows the
trace and moves for nothing, and over the best cut that stays.

MobileNetV2 and EfficientNet-B0 by profiles of this machine, whose processor is the server and, 4, 40 and 160 times
slower, the device; and EfficientNet-B0 by the times that a public notebook measured (device 115 ms, server 33 ms, six
cuts), as it is and 4 times slower, with and without the input as a JPEG. Ten frames a second, 40 ms of round trip where
a trace says nothing. The three traces of examples/traces, and three recorded cellular uplinks where they are
(TFLSPLIT_TEST_DATA names their folder).
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import harness
import models
from harness import Outcome, Samples, Table

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.profiling import profiler
from tests.tflsplit.switching import test_comparison as published
from tflsplit.api import simulating
from tflsplit.package import reading
from tflsplit.switching import comparison, traces
from tflsplit.switching.choices import Choice
from tflsplit.switching.comparison import ADAPTIVE, BEST_STATIC, ORACLE, Comparison
from tflsplit.switching.controller import Tuning
from tflsplit.switching.goal import Goal, Wish
from tflsplit.switching.policy import Probing
from tflsplit.switching.simulation import Setting, World
from tflsplit.timings.profiles import Profile, Side

MEAN_LIMIT, WORST_LIMIT, STATIC_LIMIT, P95_LIMIT = 1.025, 1.08, 1.04, 1.1
SLOWER = (4.0, 40.0, 160.0)
_TUNING = Tuning(hedge=0.5, probing=Probing())


@dataclass(frozen=True, slots=True)
class Cell:
    model: str
    slow_edge: float
    found: Comparison
    for_p95: Comparison

    def over(self, name: str, against: str) -> float:
        return self.found.policies[name].mean_ms / self.found.policies[against].mean_ms

    @property
    def p95_over_static(self) -> float:
        policies = self.for_p95.policies
        return policies[ADAPTIVE].p95_ms / policies[BEST_STATIC].p95_ms

    @property
    def is_local(self) -> bool:
        """Whether nothing is ever better than the whole model on the device."""
        return set(self.found.policies[ORACLE].cut_share) == {"output"}


def run(folder: Path, *, is_quick: bool) -> list[Outcome | Table]:
    paths = [*published.MADE, *published.RECORDED]
    profiled = {
        name: (opened, _profile(opened, Side.EDGE, folder), _profile(opened, Side.CLOUD, folder))
        for name, opened in models.both(folder).items()
    }
    cells = list(played(profiled, paths[:1] if is_quick else paths))
    return [*_outcomes(cells), _policies(cells), _rows(cells)]


def _profile(opened: reading.Package, side: Side, folder: Path) -> Profile:
    return profiler.profile(profiler.Task(opened, side, Cpu()), folder / f"policies.{opened.path.name}.{side.value}")


def played(profiled: dict[str, tuple[reading.Package, Profile, Profile]], paths: Sequence[Path]) -> Iterator[Cell]:
    for path in paths:
        trace = traces.read(path)
        for name, (opened, edge, cloud) in profiled.items():
            for slow_edge in SLOWER:
                world, choices, *_ = simulating.prepare(
                    opened,
                    edge=edge,
                    cloud=cloud,
                    trace=trace,
                    setting=Setting(slow_edge=slow_edge),
                    objective="mean",
                    tuning=_TUNING,
                    input_codecs="raw,int8,jpeg:75",
                )
                yield _cell(name, world, choices)
        for world, choices in published.cells([path]):
            yield _cell("EfficientNet-B0, published", world, choices)


def _cell(model: str, world: World, choices: Sequence[Choice]) -> Cell:
    found = comparison.compare(world, choices, Goal(), _TUNING)
    cell = Cell(model, world.setting.slow_edge, found, comparison.compare(world, choices, Goal(Wish.P95), _TUNING, ()))
    print(
        f"{model}, {world.trace.name}, device {cell.slow_edge:g}x: {found.adaptive_over_oracle:.3f} of the oracle, "
        f"{found.adaptive_over_best_static:.3f} of the best that stays, p95 {cell.p95_over_static:.3f}",
        flush=True,
    )
    return cell


def _outcomes(cells: Sequence[Cell]) -> list[Outcome]:
    over_oracle = tuple(cell.over(ADAPTIVE, ORACLE) for cell in cells)
    over_static = tuple(cell.over(ADAPTIVE, BEST_STATIC) for cell in cells)
    p95 = tuple(cell.p95_over_static for cell in cells)
    note = (
        f"{len(cells)} cells, in {sum(cell.is_local for cell in cells)} of which the whole model on the device is "
        "always the best."
    )

    def outcome(what: str, value: float, limit: float, note: str = "") -> Outcome:
        return Outcome(what, Samples("ours over it", "%", (value,)), harness.limit(limit, "%"), 1.0, note=note)

    return [
        outcome("mean latency over the oracle's, mean of the cells", statistics.fmean(over_oracle), MEAN_LIMIT, note),
        outcome("mean latency over the oracle's, worst cell", max(over_oracle), WORST_LIMIT),
        outcome("mean latency over the best staying cut's, worst cell", max(over_static), STATIC_LIMIT),
        outcome(
            "95th percentile over the best staying cut's where it is the goal, mean", statistics.fmean(p95), P95_LIMIT
        ),
        outcome(
            "95th percentile over the best staying cut's where it is the goal, worst cell",
            max(p95),
            P95_LIMIT,
            f"{sum(each > P95_LIMIT for each in p95)} of {len(p95)} cells above the limit.",
        ),
    ]


def _policies(cells: Sequence[Cell]) -> Table:
    names = [name for name in cells[0].found.policies if name != ORACLE]

    def row(name: str) -> tuple[str, ...]:
        far = [cell.over(name, ORACLE) for cell in cells]
        static = [cell.over(name, BEST_STATIC) for cell in cells]
        figures = (statistics.median(far), statistics.fmean(far), max(far), statistics.fmean(static), max(static))
        return (name, *(f"{figure:.3f}" for figure in figures))

    columns = (
        "policy",
        "over the oracle: median",
        "mean",
        "worst cell",
        "over the best that stays: mean",
        "worst cell",
    )
    return Table(f"Mean latency of each policy, {len(cells)} cells", columns, tuple(row(name) for name in names))


def _rows(cells: Sequence[Cell]) -> Table:
    rows = tuple(
        (
            cell.model,
            cell.found.trace.name,
            f"{cell.slow_edge:g}x",
            f"{cell.found.policies[ORACLE].mean_ms:.1f}",
            cell.found.policies[ORACLE].shares(),
            f"{cell.over(ADAPTIVE, ORACLE):.3f}",
            f"{cell.over(ADAPTIVE, BEST_STATIC):.3f}",
            f"{cell.p95_over_static:.3f}",
            str(len(cell.found.switches)),
        )
        for cell in cells
    )
    columns = (
        *("model", "trace", "device", "oracle ms", "its cuts"),
        *("ours over the oracle", "over the best that stays", "p95 over the best that stays", "moves"),
    )
    return Table("Ours in each cell", columns, rows)
