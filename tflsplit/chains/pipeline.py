"""The pipeline of `tflsplit plan --stage …`: profiles and links in, a chain's plan out."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tflsplit.chains import comparison
from tflsplit.chains import machines as chains_machines
from tflsplit.chains.chain import Partition
from tflsplit.chains.comparison import Outcome
from tflsplit.chains.partitioner import Terms
from tflsplit.chains.planfile import ChainPlan, Share
from tflsplit.package.reading import Package
from tflsplit.planning import pipeline, report_text
from tflsplit.planning.decision import Objective
from tflsplit.planning.scenario import Workload
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Profile


@dataclass(frozen=True, slots=True)
class Wish:
    """`pins` are (stage, cut's id): what ends there has to run on that stage. `memory` is (stage, bytes): more weights
    it cannot hold. Every stage must keep up with `fps`.
    """

    objective: Objective = Objective.LATENCY
    uses_all: bool = False
    pins: tuple[tuple[str, str], ...] = ()
    memory: tuple[tuple[str, float], ...] = ()
    fps: float | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """`machines` are profiles by stage, the camera's first; `links` lie between them."""

    package: Package
    machines: Mapping[str, Profile]
    links: tuple[Link, ...]
    outcome: Outcome

    def as_json(self) -> dict[str, object]:
        links = [pipeline.describe_link(link) for link in self.links]
        return {"package": self.package.digest, "links": links} | self.outcome.as_json()


def make(package: Package, profiles: Mapping[str, Profile], links: Sequence[Link], wish: Wish) -> Planned:
    """The profiles have been checked to fit the package. SettingsError where no chain, or no partition, is possible."""
    chain = chains_machines.chain_of(package.cuts, profiles, links, package.manifest.compilations)
    for stage, size_bytes in wish.memory:
        chain = comparison.bound_memory(chain, stage, size_bytes)
    pins = dict(comparison.pin(chain, place, stage) for stage, place in wish.pins)
    rate_fps = Workload(rate_fps=wish.fps).rate_fps
    terms = Terms(wish.uses_all, pins) if rate_fps is None else Terms(wish.uses_all, pins, 1 / rate_fps)
    return Planned(package, profiles, tuple(links), comparison.make(chain, wish.objective, terms))


def plan_of(planned: Planned, folder: Path) -> ChainPlan:
    """The file of a chain's plan, to stand in `folder`."""
    outcome, package = planned.outcome, planned.package
    told = outcome.as_json()
    other = outcome.found[1] if len(outcome.found) > 1 else None
    described = comparison.describe(outcome.chain, other) if other else None
    return ChainPlan(
        package_digest=package.digest,
        package_name=package.manifest.name,
        package_path=os.path.relpath(package.path, folder),
        stages=tuple(_shares(planned)),
        objective=outcome.objective.value,
        reason=comparison.reason(outcome),
        constraints=comparison.constraints(outcome),
        links=tuple(pipeline.describe_link(link) for link in planned.links),
        expected=comparison.describe(outcome.chain, outcome.pick),
        explanation=told["explanation"],  # type: ignore[arg-type]  # built there
        runner_up=described and described | {"why_not": comparison.why_not(outcome, other)},  # type: ignore[arg-type]  # both are there or neither is
        rivals=told["rivals"],  # type: ignore[arg-type]  # built there
        two_machines=_two_machines(planned),
    )


def _shares(planned: Planned) -> list[Share]:
    chain, pieces = planned.outcome.chain, {piece.stage: piece for piece in planned.outcome.pick.pieces}
    found = []
    reached = 0  # a machine that is left out lies where the model has got to
    for stage, (name, profile) in enumerate(planned.machines.items()):
        piece = pieces.get(stage)
        start, stop = (piece.start, piece.stop) if piece else (reached, reached)
        reached = stop
        layer = planned.package.cut(chain.places[stop]).layer if stop > start else None
        device = pipeline.describe_device(profile)
        ends = chain.places[start], chain.places[stop]
        found.append(Share(name, *ends, report_text.short_layer(layer) or None, piece is not None, device))
    return found


def _two_machines(planned: Planned) -> dict[str, object] | None:
    found = comparison.two_machines(planned.outcome)
    return _as_one_cut(planned, found[0]) if found else None


def _as_one_cut(planned: Planned, made: Partition) -> dict[str, object]:
    chain, (first, second) = planned.outcome.chain, made.pieces
    return {
        "cut": chain.places[second.start],
        "edge": chain.stages[first.stage].name,
        "cloud": chain.stages[second.stage].name,
        "latency_ms": made.latency_s * 1000,
        "slowest_ms": made.slowest_s * 1000,
    }
