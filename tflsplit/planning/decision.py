"""The decision: candidates are costed, checked against the constraints and compared, and one is picked.

Objectives and constraints are those that Robertson et al. (PDCAT 2019) name: network cost, input rate, processing
overhead. Their formula is not public; the one here is ours:

    rate       slowest stage, seconds a frame = 1 / sustainable rate      (also a constraint: at most 1 / asked rate)
    network    bytes on the wire a frame, both ways
    overhead   latency of the median frame, less that of the tail alone had the whole model run in the cloud

A candidate is dominated where another is no worse in all three and better in one. `weighted` adds up the three, each
scaled to 0..1 between the best and the worst feasible candidate, by the user's weights.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum

from tflsplit import errors
from tflsplit.planning import constraints
from tflsplit.planning import cost as planning_cost
from tflsplit.planning.candidates import Candidate
from tflsplit.planning.constraints import Constraints, Failure
from tflsplit.planning.cost import Cost
from tflsplit.planning.scenario import Scenario
from tflsplit.values.classes import dataclass, field

# A split must gain at least this share. Profiles know the medians of head and tail to some 2 % each, independently;
# half of that is told apart more often than not.
WORTH_A_SPLIT = 0.01

# An exact candidate goes before others that gain less than this: twice what the profiles can tell.
NEARLY = 0.02


class Objective(str, Enum):
    LATENCY = "latency"
    THROUGHPUT = "throughput"
    BYTES = "bytes"
    ENERGY = "energy"
    PRICE = "price"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the three objectives in `weighted`; their sum does not matter."""

    rate: float = 1.0
    network: float = 1.0
    overhead: float = 1.0

    def __post_init__(self) -> None:
        values = (self.rate, self.network, self.overhead)
        if min(values) < 0 or not sum(values) > 0:
            raise errors.SettingsError(f"weights {values}: give numbers of 0 or more, not all 0")


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked for: the best candidate by `objective` of those that meet `constraints`; an exact one among near
    equals if `prefers_exact`."""

    objective: Objective = Objective.LATENCY
    constraints: Constraints = field(default_factory=Constraints)
    weights: Weights = field(default_factory=Weights)
    prefers_exact: bool = True


@dataclass(frozen=True, slots=True)
class Judged:
    """One candidate's cost, and the constraints it fails. `dominated_by` is the id of one in the Pareto set."""

    cost: Cost
    failures: tuple[Failure, ...]
    dominated_by: str | None

    @property
    def id(self) -> str:
        return self.cost.candidate.id

    @property
    def is_feasible(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True)
class Decision:
    """`choice` is None where nothing meets the constraints; `nearest` then is the candidate that misses them least."""

    goal: Goal
    judged: tuple[Judged, ...] = field(repr=False)
    choice: Judged | None
    runner_up: Judged | None
    nearest: Judged | None

    @property
    def pareto(self) -> tuple[str, ...]:
        return tuple(entry.id for entry in self.judged if entry.is_feasible and entry.dominated_by is None)

    @property
    def is_split(self) -> bool:
        return self.choice is not None and self.choice.cost.candidate.is_split


def decide(candidates: Sequence[Candidate], scenario: Scenario, goal: Goal) -> Decision:
    """SettingsError where the objective needs figures that were not given."""
    check(scenario, goal)
    costs = [planning_cost.of(candidate, scenario) for candidate in candidates]
    found = [constraints.failures(entry, goal.constraints) for entry in costs]
    feasible = [entry for entry, failed in zip(costs, found, strict=True) if not failed]
    dominator = dominators(feasible)
    judged = tuple(
        Judged(entry, failed, dominator.get(entry.candidate.id)) for entry, failed in zip(costs, found, strict=True)
    )
    ranked = rank(feasible, goal)
    by_id = {entry.id: entry for entry in judged}
    best = [by_id[entry.candidate.id] for entry in ranked[:2]]
    nearest = None if best else by_id[constraints.nearest_miss(costs, goal.constraints)[0].candidate.id]
    return Decision(goal, judged, best[0] if best else None, best[1] if len(best) > 1 else None, nearest)


def check(scenario: Scenario, goal: Goal) -> None:
    if goal.objective is Objective.ENERGY and scenario.power is None:
        raise errors.SettingsError("the objective energy needs the edge's power: --idle-watts and --active-watts")
    if goal.objective is Objective.PRICE and not scenario.prices.is_known:
        raise errors.SettingsError("the objective price needs --price-per-gb or --price-per-cloud-hour")
    if goal.constraints.max_energy_j is not None and scenario.power is None:
        raise errors.SettingsError("a bound on energy needs the edge's power: --idle-watts and --active-watts")
    if goal.constraints.max_price_per_day is not None and not scenario.prices.is_known:
        raise errors.SettingsError("a bound on price needs --price-per-gb or --price-per-cloud-hour")


def rank(feasible: Sequence[Cost], goal: Goal) -> list[Cost]:
    """Best first. Equals are told apart by latency, then bytes, then the earlier cut, which asks less of the edge.

    Where a split is ahead by less than measured times can tell, the best candidate that does not split goes first; an
    exact one goes before what is ahead by less than `NEARLY`.
    """
    score = _score(feasible, goal)
    ordered = sorted(
        feasible,
        key=lambda entry: (
            score(entry),
            entry.latency.p50_s,
            entry.bytes_per_frame,
            entry.candidate.cut.position,
        ),
    )
    if not ordered:
        return ordered
    least = score(ordered[0])
    unsplit = next((entry for entry in ordered if not entry.candidate.is_split), None)
    is_near = unsplit is not None and abs(score(unsplit) - least) < WORTH_A_SPLIT * abs(least)
    if unsplit is not None and is_near and goal.objective is not Objective.WEIGHTED:
        _put_first(unsplit, ordered)
    if goal.prefers_exact and not ordered[0].candidate.is_exact:
        near = (entry for entry in ordered if score(entry) - least <= NEARLY * abs(least))
        exact = next((entry for entry in near if entry.candidate.is_exact), None)
        if exact is not None:
            _put_first(exact, ordered)
    return ordered


def _put_first(entry: Cost, ordered: list[Cost]) -> None:
    ordered.remove(entry)
    ordered.insert(0, entry)


def axes(entry: Cost) -> tuple[float, float, float]:
    """The three objectives, less of each being better. The overhead lacks its constant, which moves no comparison."""
    return 1 / entry.throughput_fps, entry.bytes_per_frame, entry.latency.p50_s


def dominators(feasible: Sequence[Cost]) -> dict[str, str]:
    """Dominated candidate → the fastest member of the Pareto set that dominates it."""
    ordered = sorted(((axes(entry), entry.candidate.id) for entry in feasible), key=lambda pair: pair[0][::-1])
    front: list[tuple[tuple[float, float, float], str]] = []
    found: dict[str, str] = {}
    for mine, name in ordered:
        # What dominates this one came before it, and is in the front or dominated by one there.
        by = next((other for theirs, other in front if _dominates(theirs, mine)), None)
        if by is None:
            front.append((mine, name))
        else:
            found[name] = by
    return found


def _dominates(mine: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return mine != other and all(left <= right for left, right in zip(mine, other, strict=True))


def _score(feasible: Sequence[Cost], goal: Goal) -> Callable[[Cost], float]:
    if goal.objective is Objective.WEIGHTED:
        return _weighted(feasible, goal.weights)
    return SCORES[goal.objective]


def _weighted(feasible: Sequence[Cost], weights: Weights) -> Callable[[Cost], float]:
    share = (weights.rate, weights.network, weights.overhead)
    points = [axes(entry) for entry in feasible]
    least = [min(column) for column in zip(*points, strict=True)]
    span = [max(column) - low for column, low in zip(zip(*points, strict=True), least, strict=True)]

    def score(entry: Cost) -> float:
        return math.fsum(
            weight * (value - low) / width
            for weight, value, low, width in zip(share, axes(entry), least, span, strict=True)
            if width > 0
        )

    return score


def _known(value: float | None) -> float:
    return math.inf if value is None else value


SCORES: Mapping[Objective, Callable[[Cost], float]] = {
    Objective.LATENCY: lambda entry: entry.latency.p50_s,
    Objective.THROUGHPUT: lambda entry: -entry.throughput_fps,
    Objective.BYTES: lambda entry: entry.bytes_per_frame,
    Objective.ENERGY: lambda entry: _known(entry.energy_j),
    Objective.PRICE: lambda entry: _known(entry.price_per_day),
}
