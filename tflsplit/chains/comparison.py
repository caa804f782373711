"""The pipeline of `tflsplit plan --stage …`: a chain partitioned, explained, and compared with Coral's algorithms."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tflsplit import errors
from tflsplit.chains import chain as chains
from tflsplit.chains import coral_algorithms, explanation, partitioner
from tflsplit.chains.chain import Chain, Partition, Piece
from tflsplit.chains.explanation import Gain
from tflsplit.chains.partitioner import Terms
from tflsplit.planning.decision import WORTH_A_SPLIT, Objective

# How many partitions are shown beside the one picked.
RUNNERS_UP = 4
_RIVALS = {"parameter_count": "Coral, equal parameters", "bisection": "libcoral, bisection"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`found` begins with the pick. `rivals` are Coral's partitions on the same numbers, where they give one."""

    chain: Chain
    objective: Objective
    terms: Terms
    found: tuple[Partition, ...]
    rivals: Mapping[str, Partition]

    @property
    def pick(self) -> Partition:
        return self.found[0]

    @property
    def told(self) -> dict[str, Partition]:
        """All partitions to be shown, by what they are called: the pick, Coral's, the runners-up."""
        others = {f"runner-up {place}": found for place, found in enumerate(self.found[1:], start=1)}
        return {"pick": self.pick} | {_RIVALS[name]: found for name, found in self.rivals.items()} | others

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

    def as_json(self) -> dict[str, object]:
        return {
            "choice": [self.chain.places[place] for place in self.pick.cuts],
            "objective": self.objective.value,
            "constraints": constraints(self),
            "do_not_split": not self.pick.is_split,
            "reason": reason(self),
            "partition": describe(self.chain, self.pick),
            "explanation": {name: gain.as_json() if gain else None for name, gain in self.gains.items()},
            "runners_up": [describe(self.chain, other) | {"why_not": why_not(self, other)} for other in self.found[1:]],
            "rivals": {
                name: describe(self.chain, other) | {"why_not": why_not(self, other)}
                for name, other in self.rivals.items()
            },
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
    theirs = {}
    if len(chain.places) > len(chain.stages):
        theirs = {
            "parameter_count": coral_algorithms.by_parameter_count(chain),
            "bisection": coral_algorithms.by_bisection(chain),
        }
    outcome = Outcome(chain, objective, terms, tuple(found), theirs)
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


def two_machines(outcome: Outcome) -> tuple[Partition, ...]:
    """The ways with one cut at most between the first machine and another: what `edge` and `cloud` run. Best first."""
    chain, last = outcome.chain, len(outcome.chain.places) - 1
    ways = (
        chains.partition(chain, [(0, 0, place), (stage, place, last)])
        for stage in range(1, len(chain.stages))
        for place in range(last + 1)
    )
    allowed = (made for made in ways if chains.fits(chain, made) and made.slowest_s <= outcome.terms.most_s)
    return tuple(sorted(allowed, key=lambda made: figure_s(made, outcome.objective)))


def reason(outcome: Outcome) -> str:
    """One sentence: which pieces go where, and what the best way of the other kind, split or not, would be."""
    chain, pick = outcome.chain, outcome.pick
    told = shares(chain, pick) if pick.is_split else f"do not split: {shares(chain, pick)}"
    if outcome.terms.uses_all:
        return f"{told}; no stage was to be left out"
    others = [made for made in outcome.found[1:] if made.is_split] if not pick.is_split else _wholes(outcome)
    if not others:
        return f"{told}; no one stage may run the whole model" if pick.is_split else told
    rival = min(others, key=lambda made: figure_s(made, outcome.objective))
    is_hardly_better = figure_s(rival, outcome.objective) < figure_s(pick, outcome.objective)
    doubt = f" (a split has to gain {WORTH_A_SPLIT:.0%})" if is_hardly_better else ""
    return f"{told}; {shares(chain, rival)}: {why_not(outcome, rival)}{doubt}"


def why_not(outcome: Outcome, other: Partition) -> str:
    """What another partition is worse in than the pick."""
    said = []
    for name, mine, best in (
        ("latency", other.latency_s, outcome.pick.latency_s),
        ("slowest stage", other.slowest_s, outcome.pick.slowest_s),
    ):
        share = f" ({mine / best - 1:+.1%})" if best else ""
        said.append(f"{name} {mine * 1e3:.5g} ms against {best * 1e3:.5g}{share}")
    return ", ".join(said if outcome.objective is Objective.LATENCY else said[::-1])


def shares(chain: Chain, found: Partition) -> str:
    """`pi: input to op004, cloud: op004 to output`."""
    return ", ".join(
        f"{chain.stages[piece.stage].name}: {chain.places[piece.start]} to {chain.places[piece.stop]}"
        for piece in found.shares
    )


def figure_s(found: Partition, objective: Objective) -> float:
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


def _first(best: Partition | None, found: list[Partition]) -> list[Partition]:
    return found if best is None else [best, *(other for other in found if other != best)]


def _unsplit_as_good(outcome: Outcome) -> Partition | None:
    """The best way of not splitting, if a split gains too little on it to be told apart by profiles."""
    best_s = figure_s(outcome.pick, outcome.objective)
    found = min(_wholes(outcome), key=lambda made: figure_s(made, outcome.objective), default=None)
    if found is None or outcome.terms.uses_all or not outcome.pick.is_split:
        return None
    return found if figure_s(found, outcome.objective) - best_s < WORTH_A_SPLIT * best_s else None


def _wholes(outcome: Outcome) -> list[Partition]:
    """The whole model on one stage, wherever it fits and the terms, but for leaving stages out, allow it."""
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
        "parameter_bytes": chain.parameter_bytes[piece.stop] - chain.parameter_bytes[piece.start],
        "bytes_in": chain.wire_bytes[piece.start],
    }
