"""The bounds that the user sets, and which of them a candidate fails: in words, and by how much."""

import math
from collections.abc import Iterator, Sequence

from tflsplit import arguments, text
from tflsplit.fidelity import Fidelity
from tflsplit.planning.cost import Cost
from tflsplit.values.classes import dataclass, fields


@dataclass(frozen=True, slots=True)
class Constraints:
    """None bounds nothing. Latency is that of the 95th percentile: a bound is meant for bad frames too.

    `min_position` is the least number of operators that must run on the device, for privacy. With `exact` the head must
    be known to give on the edge what it would give in the cloud. `min_agreement` (a share) and `min_sqnr_db` bound what
    fewer bits may lose, against frames without loss.
    """

    max_latency_s: float | None = None
    fps: float | None = None
    max_bytes_per_day: float | None = None
    max_edge_memory_bytes: int | None = None
    max_price_per_day: float | None = None
    max_energy_j: float | None = None
    min_position: int | None = None
    exact: bool | None = None
    min_agreement: float | None = None
    min_sqnr_db: float | None = None

    def __post_init__(self) -> None:
        arguments.check_fields(self)

    def as_json(self) -> dict[str, float]:
        given = ((entry.name, getattr(self, entry.name)) for entry in fields(self))
        return {name: value for name, value in given if value is not None}


@dataclass(frozen=True, slots=True)
class Failure:
    """`excess` is how far the candidate is beyond the bound, as a share of the bound. It ranks misses."""

    constraint: str
    words: str
    excess: float


def failures(cost: Cost, constraints: Constraints) -> tuple[Failure, ...]:
    if cost.candidate.missing:
        return (Failure("profile", cost.candidate.missing, math.inf),)
    found = (
        *_too_shallow(cost, constraints),
        *_inexact(cost, constraints),
        *too_lossy(cost.candidate.fidelity, constraints),
        *_too_much(cost, constraints),
    )
    # The overload is the same failure where the rate was asked for.
    return found if any(failure.constraint == "fps" for failure in found) else (*_overload(cost), *found)


def rate_unit(batch: int) -> str:
    """What rates count: frames, or, where a frame holds several, inputs."""
    return "frames/s" if batch == 1 else "inputs/s"


def nearest_miss(costs: Sequence[Cost], constraints: Constraints) -> tuple[Cost, tuple[Failure, ...]]:
    """The candidate whose worst failure is the smallest."""

    def worst(entry: tuple[Cost, tuple[Failure, ...]]) -> float:
        return max((failure.excess for failure in entry[1]), default=0.0)

    return min(((cost, failures(cost, constraints)) for cost in costs), key=worst)


def _overload(cost: Cost) -> Iterator[Failure]:
    """A stage that gets more frames than it can take, so that the queue before it only grows."""
    if cost.latency.p50_s == math.inf:
        stage = cost.slowest_stage
        yield Failure(
            "rate",
            f"{stage} can do {cost.stages_fps[stage]:.4g} {rate_unit(cost.candidate.batch)}, fewer than come",
            _over(cost.edge_load, 1.0),
        )


def _too_shallow(cost: Cost, constraints: Constraints) -> Iterator[Failure]:
    wanted, position = constraints.min_position, cost.candidate.cut.position
    if wanted is not None and position < wanted:
        missing = wanted - position
        yield Failure(
            "min_depth",
            f"{text.counted(missing, 'operator')} short of the depth that must stay on the edge",
            missing / wanted,
        )


def _inexact(cost: Cost, constraints: Constraints) -> Iterator[Failure]:
    if constraints.exact and not cost.candidate.is_exact:
        yield Failure("exact", f"{cost.candidate.standing.value}: {cost.candidate.inexact}", 1.0)


def too_lossy(found: Fidelity | None, constraints: Constraints) -> Iterator[Failure]:
    """What fewer bits lose, where they do: `found` is against frames without loss."""
    if found is None:
        return
    for name, has, least, words in (
        ("min_agreement", found.top1_agreement, constraints.min_agreement, "agrees in {:.1%}, at least {:.1%} asked"),
        ("min_sqnr", found.sqnr_db, constraints.min_sqnr_db, "{:.1f} dB SQNR, at least {:.1f} dB asked"),
    ):
        if least is not None and has is None:
            yield Failure(name, "what it loses was not measured in these terms", 1.0)
        elif least is not None and has is not None and has < least:
            yield Failure(name, words.format(has, least), (least - has) / abs(least) if least else 1.0)


def _too_much(cost: Cost, constraints: Constraints) -> Iterator[Failure]:
    if constraints.max_latency_s is not None and cost.latency.p95_s > constraints.max_latency_s:
        settled = "never settles" if cost.latency.p95_s == math.inf else f"{cost.latency.p95_s * 1e3:.4g} ms"
        words = f"p95 latency {settled}, at most {constraints.max_latency_s * 1e3:.4g} ms asked"
        yield Failure("max_latency", words, _over(cost.latency.p95_s, constraints.max_latency_s))
    if constraints.fps is not None and cost.throughput_fps < constraints.fps:
        can_do = f"{cost.throughput_fps:.4g} {rate_unit(cost.candidate.batch)}"
        words = f"{cost.slowest_stage} can do {can_do}, {constraints.fps:.10g} asked"
        yield Failure("fps", words, _over(constraints.fps, cost.throughput_fps))
    memory_bytes = cost.candidate.edge_memory_bytes
    for name, found, most, unit in (
        ("max_bytes_per_day", cost.bytes_per_day, constraints.max_bytes_per_day, "bytes a day"),
        ("max_edge_memory", memory_bytes, constraints.max_edge_memory_bytes, "bytes of edge memory"),
        ("max_price", cost.price_per_day, constraints.max_price_per_day, "a day"),
        ("max_energy", cost.energy_j, constraints.max_energy_j, "J a frame"),
    ):
        if most is not None and found is not None and found > most:
            yield Failure(name, f"{_figure(found)} {unit}, at most {_figure(most)} asked", _over(found, most))


def _figure(amount: float) -> str:
    """Whole from a hundred thousand on, where six digits would be written with an exponent."""
    return f"{amount:,.0f}" if abs(amount) >= 1e5 else f"{amount:,.6g}"


def _over(found: float, most: float) -> float:
    return found / most - 1 if most > 0 else math.inf
