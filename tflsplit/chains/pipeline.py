"""The steps of `tflsplit plan --stage …`: from profiles and links to a chain's plan."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tflsplit.chains import comparison, machines
from tflsplit.chains.comparison import Outcome
from tflsplit.chains.partitioner import Terms
from tflsplit.chains.planfile import ChainPlan, Share
from tflsplit.package.reading import Package
from tflsplit.planning import pipeline, planfile, report_text
from tflsplit.planning.decision import Objective
from tflsplit.planning.scenario import Workload
from tflsplit.timings.links import Link
from tflsplit.timings.profiles import Profile
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """`pins` are (stage, cut's id): the operator before that cut has to run on that stage. `memory` is (stage, bytes):
    what its weights may take. Every stage must keep up with `fps`.
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


def make(package: Package, profiles: Mapping[str, Profile], links: Sequence[Link], goal: Goal) -> Planned:
    """The profiles have been checked to fit the package. SettingsError where no chain, or no partition, is possible."""
    chain = machines.chain_of(package.cuts, profiles, links, package.manifest.compilations)
    for stage, size_bytes in goal.memory:
        chain = comparison.bound_memory(chain, stage, size_bytes)
    pins = dict(comparison.pin(chain, place, stage) for stage, place in goal.pins)
    rate_fps = Workload(rate_fps=goal.fps).rate_fps
    terms = Terms(goal.uses_all, pins) if rate_fps is None else Terms(goal.uses_all, pins, 1 / rate_fps)
    return Planned(package, profiles, tuple(links), comparison.make(chain, goal.objective, terms))


def plan_of(planned: Planned, folder: Path) -> ChainPlan:
    """The file of a chain's plan, to stand in `folder`."""
    outcome = planned.outcome
    runners_up = comparison.compared(outcome, outcome.found[1:2])
    return ChainPlan(
        **planfile.naming(planned.package, folder),
        stages=tuple(_shares(planned)),
        objective=outcome.objective.value,
        reason=comparison.reason(outcome),
        constraints=comparison.constraints(outcome),
        links=tuple(pipeline.describe_link(link) for link in planned.links),
        expected=comparison.describe(outcome.chain, outcome.pick),
        explanation=outcome.explanation,
        runner_up=runners_up[0] if runners_up else None,
        rivals=outcome.rivals,
        two_machines=_two_machines(planned),
    )


def _shares(planned: Planned) -> list[Share]:
    chain, pieces = planned.outcome.chain, {piece.stage: piece for piece in planned.outcome.pick.pieces}
    found = []
    reached = 0  # a machine that is left out stands at the place that the ones before it have reached
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
    best = comparison.two_machines(planned.outcome)
    if best is None:
        return None
    chain, (first, second) = planned.outcome.chain, best.pieces
    return {
        "cut": chain.places[second.start],
        "edge": chain.stages[first.stage].name,
        "cloud": chain.stages[second.stage].name,
        "latency_ms": best.latency_s * 1000,
        "slowest_ms": best.slowest_s * 1000,
    }
