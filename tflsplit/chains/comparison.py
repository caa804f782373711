"""A chain partitioned, the partition explained and compared with those of Coral's algorithms."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from tflsplit import errors, text
from tflsplit.chains import chain as chains
from tflsplit.chains import coral_algorithms, explanation, partitioner
from tflsplit.chains.chain import Chain, Partition, Piece, Seconds
from tflsplit.chains.explanation import Gain
from tflsplit.chains.partitioner import Terms
from tflsplit.planning.decision import WORTH_A_SPLIT, Objective
from tflsplit.values.classes import dataclass, replace

# How many partitions are shown beside the one picked.
RUNNERS_UP = 4
_CORAL = {"parameter_count": "Coral, equal parameters", "bisection": "libcoral, bisection"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`found` begins with the pick. `coral` are the partitions of Coral's algorithms for the same chain, by name."""

    chain: Chain
    objective: Objective
    terms: Terms
    found: tuple[Partition, ...]
    coral: Mapping[str, Partition]

    @property
    def pick(self) -> Partition:
        return self.found[0]

    @property
    def shown(self) -> dict[str, Partition]:
        """All partitions to be shown, by name: the pick, those of Coral's algorithms, the runners-up."""
        others = {f"runner-up {place}": found for place, found in enumerate(self.found[1:], start=1)}
        return {"pick": self.pick} | {_CORAL[name]: found for name, found in self.coral.items()} | others

    @property
    def aim(self) -> str:
        return "least latency" if self.objective is Objective.LATENCY else "highest throughput: least slowest stage"

    @property
    def gains(self) -> dict[str, Gain | None]:
        """Why the pick is better than one machine alone: for one frame, and for frames that follow one another."""
        return {
            "latency": explanation.latency(self.chain, self.pick),
            "slowest": explanation.slowest(self.chain, self.pick),
        }

    @property
    def explanation(self) -> dict[str, object]:
        return {name: gain.as_json() if gain else None for name, gain in self.gains.items()}

    @property
    def rivals(self) -> dict[str, object]:
        """What Coral's algorithms make of the chain, as JSON calls it."""
        return dict(zip(self.coral, compared(self, self.coral.values()), strict=True))

    def as_json(self) -> dict[str, object]:
        return {
            "choice": [self.chain.places[place] for place in self.pick.cuts],
            "objective": self.objective.value,
            "constraints": constraints(self),
            "do_not_split": not self.pick.is_split,
            "reason": reason(self),
            "partition": describe(self.chain, self.pick),
            "explanation": self.explanation,
            "runners_up": compared(self, self.found[1:]),
            "rivals": self.rivals,
            "stages": [
                {"name": stage.name, "origin": stage.origin.value, "cache_bytes": stage.cache and stage.cache.bytes}
                for stage in self.chain.stages
            ],
        }


def make(chain: Chain, objective: Objective, terms: Terms = partitioner.FREE) -> Outcome:
    """SettingsError for an objective that is not latency or throughput, and where no partition is possible."""
    if objective not in (Objective.LATENCY, Objective.THROUGHPUT):
        raise errors.SettingsError(f"objective {objective.value}: a chain is planned for latency or throughput")
    search = partitioner.fastest if objective is Objective.LATENCY else partitioner.by_slowest
    found = search(chain, count=RUNNERS_UP + 1, terms=terms)
    if not found:
        raise errors.SettingsError(_none(chain, terms))
    if objective is Objective.THROUGHPUT:
        found = _first(partitioner.smoothest(chain, terms=terms), found)
    coral = {}
    if len(chain.places) > len(chain.stages):
        coral = {
            "parameter_count": coral_algorithms.by_parameter_count(chain),
            "bisection": coral_algorithms.by_bisection(chain),
        }
    outcome = Outcome(chain, objective, terms, tuple(found), coral)
    found = _first(_unsplit_as_good(outcome), found)
    return replace(outcome, found=tuple(found[: RUNNERS_UP + 1]))


def pin(chain: Chain, place: str, stage: str) -> tuple[int, int]:
    """The step that ends at a cut, and the stage that has to run it: an entry of `Terms.pins`."""
    number = _number_of(chain, stage)
    if place not in chain.places[1:]:
        raise errors.SettingsError(f"pin of {place}: no stage's profile times a piece that ends there")
    return chain.places.index(place) - 1, number


def bound_memory(chain: Chain, stage: str, size_bytes: float) -> Chain:
    """The chain where a stage can hold no more weights than that."""
    if not size_bytes > 0:
        raise errors.SettingsError(f"memory of {size_bytes:g} bytes on {stage}: give more than 0")
    number = _number_of(chain, stage)
    bounded = replace(chain.stages[number], memory_bytes=size_bytes)
    return replace(chain, stages=(*chain.stages[:number], bounded, *chain.stages[number + 1 :]))


def _number_of(chain: Chain, stage: str) -> int:
    names = [entry.name for entry in chain.stages]
    if stage not in names:
        raise errors.SettingsError(f"no stage {stage!r}: the stages are {', '.join(names)}")
    return names.index(stage)


def two_machines(outcome: Outcome) -> Partition | None:
    """The best partition with one cut at most, between the first machine and another: what `edge` and `cloud` run."""
    chain, places, found = outcome.chain, np.arange(len(outcome.chain.places)), []
    for stage in range(1, len(chain.stages)):
        every = chains.partition(chain, [(0, 0, places), (stage, places, places[-1])])
        is_allowed = chains.fits(chain, every) & (every.slowest_s <= outcome.terms.most_s)
        for place in places[is_allowed][np.argsort(figure_s(every, outcome.objective)[is_allowed], kind="stable")[:1]]:
            found.append(chains.partition(chain, [(0, 0, place), (stage, place, places[-1])]))
    return min(found, key=lambda made: figure_s(made, outcome.objective), default=None)


def reason(outcome: Outcome) -> str:
    """One sentence: which piece goes to which stage, and how the best other partition, split or not, compares."""
    chain, pick = outcome.chain, outcome.pick
    picked = shares(chain, pick) if pick.is_split else f"do not split: {shares(chain, pick)}"
    if outcome.terms.uses_all:
        return f"{picked}; no stage was to be left out"
    others = [made for made in outcome.found[1:] if made.is_split] if not pick.is_split else _wholes(outcome)
    if not others:
        return f"{picked}; no one stage may run the whole model" if pick.is_split else picked
    other = min(others, key=lambda made: figure_s(made, outcome.objective))
    is_hardly_better = figure_s(other, outcome.objective) < figure_s(pick, outcome.objective)
    doubt = f" (a split has to gain {WORTH_A_SPLIT:.0%})" if is_hardly_better else ""
    what = "without a split" if pick.is_split else "the best split"
    return f"{picked}; {what}, {shares(chain, other)}: {why_not(outcome, other)}{doubt}"


def why_not(outcome: Outcome, other: Partition) -> str:
    """What another partition is worse in than the pick."""
    figures = []
    for name, mine, best in (
        ("latency", other.latency_s, outcome.pick.latency_s),
        ("slowest stage", other.slowest_s, outcome.pick.slowest_s),
    ):
        share = f" ({text.percent(mine / best - 1, signed=True)})" if best else ""
        figures.append(f"{name} {mine * 1e3:.5g} ms against {best * 1e3:.5g}{share}")
    return ", ".join(figures if outcome.objective is Objective.LATENCY else figures[::-1])


def shares(chain: Chain, found: Partition) -> str:
    """`pi: input to op004, cloud: op004 to output`."""
    return ", ".join(
        f"{chain.stages[piece.stage].name}: {chain.places[piece.start]} to {chain.places[piece.stop]}"
        for piece in found.shares
    )


def figure_s(found: Partition, objective: Objective) -> Seconds:
    return found.latency_s if objective is Objective.LATENCY else found.slowest_s


def constraints(outcome: Outcome) -> dict[str, object]:
    chain, terms = outcome.chain, outcome.terms
    return {
        "use_all": terms.uses_all,
        "pins": {chain.places[step + 1]: chain.stages[stage].name for step, stage in terms.pins.items()},
        "memory_bytes": {one.name: one.memory_bytes for one in chain.stages if math.isfinite(one.memory_bytes)},
        "fps": 1 / terms.most_s if math.isfinite(terms.most_s) else None,
    }


def describe(chain: Chain, found: Partition) -> dict[str, object]:
    return {
        "latency_ms": found.latency_s * 1000,
        "slowest_ms": found.slowest_s * 1000,
        "throughput_fps": 1 / found.slowest_s if found.slowest_s > 0 else None,
        "back_ms": found.back_s * 1000,
        "pieces": [_piece(chain, piece) for piece in found.pieces],
    }


def compared(outcome: Outcome, others: Iterable[Partition]) -> list[dict[str, object]]:
    """Partitions that were not picked, each with the reason."""
    return [describe(outcome.chain, other) | {"why_not": why_not(outcome, other)} for other in others]


def _first(best: Partition | None, found: list[Partition]) -> list[Partition]:
    return found if best is None else [best, *(other for other in found if other != best)]


def _unsplit_as_good(outcome: Outcome) -> Partition | None:
    """The whole model on the best single stage, if a split is faster by less than profiles can tell."""
    best_s = figure_s(outcome.pick, outcome.objective)
    found = min(_wholes(outcome), key=lambda made: figure_s(made, outcome.objective), default=None)
    if found is None or outcome.terms.uses_all or not outcome.pick.is_split:
        return None
    return found if figure_s(found, outcome.objective) - best_s < WORTH_A_SPLIT * best_s else None


def _wholes(outcome: Outcome) -> list[Partition]:
    """The whole model on one stage, for each stage where it fits and the terms allow it (`uses_all` is ignored)."""
    chain, terms = outcome.chain, outcome.terms
    stages = (stage for stage in range(len(chain.stages)) if set(terms.pins.values()) <= {stage})
    found = [made for stage in stages if (made := chains.whole(chain, stage))]
    return [made for made in found if made.slowest_s <= terms.most_s]


def _none(chain: Chain, terms: Terms) -> str:
    """Why there is no partition at all."""
    if math.isfinite(terms.most_s):
        slower = partitioner.smoothest(chain, terms=Terms(terms.uses_all, terms.pins))
        if slower is not None:
            return (
                f"no partition keeps up with {1 / terms.most_s:.4g} frames/s; the nearest, {shares(chain, slower)}, "
                f"does {1 / slower.slowest_s:.4g}"
            )
    return "no partition: no stage can hold its piece, or the pins contradict one another"


def _piece(chain: Chain, piece: Piece) -> dict[str, object]:
    return {
        "stage": chain.stages[piece.stage].name,
        "from": chain.places[piece.start],
        "to": chain.places[piece.stop],
        "hop_ms": piece.hop_s * 1000,
        "preprocess_ms": piece.preprocess_s * 1000,
        "run_ms": piece.run_s * 1000,
        "coding_ms": piece.coding_s * 1000,
        "stream_ms": piece.stream_s * 1000,
        "parameter_bytes": piece.parameter_bytes,
        "bytes_in": chain.wire_bytes[piece.start],
    }
