"""The pipeline of `tflsplit plan --stage …`: a chain partitioned, explained, and compared with Coral's algorithms."""

from collections.abc import Mapping
from dataclasses import dataclass

from tflsplit import chain as chains
from tflsplit import errors, explanation, rivals
from tflsplit.chain import Chain, Partition, Piece, Terms
from tflsplit.explanation import Gain
from tflsplit.planner import Objective

# How many partitions are shown beside the one picked.
RUNNERS_UP = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """`found` begins with the pick. `rivals` are Coral's partitions on the same numbers, where they give one."""

    chain: Chain
    objective: Objective
    found: tuple[Partition, ...]
    rivals: Mapping[str, Partition]

    @property
    def gains(self) -> dict[str, Gain | None]:
        """Why the pick is better than one machine alone: for one frame, and for frames that follow one another."""
        best = self.found[0]
        return {"latency": explanation.latency(self.chain, best), "slowest": explanation.slowest(self.chain, best)}

    def as_json(self) -> dict[str, object]:
        best = self.found[0]
        return {
            "choice": [self.chain.places[place] for place in best.cuts],
            "objective": self.objective.value,
            "do_not_split": len(best.pieces) == 1,
            "partition": describe(self.chain, best),
            "explanation": {name: gain.as_json() if gain else None for name, gain in self.gains.items()},
            "runners_up": [describe(self.chain, other) for other in self.found[1:]],
            "rivals": {name: describe(self.chain, other) for name, other in self.rivals.items()},
            "stages": [
                {"name": stage.name, "origin": stage.origin.value, "cache_bytes": stage.cache and stage.cache.bytes}
                for stage in self.chain.stages
            ],
        }


def make(chain: Chain, objective: Objective, terms: Terms = chains.FREE) -> Outcome:
    """SettingsError for an objective that is not latency or throughput, and where no partition is possible."""
    if objective not in (Objective.LATENCY, Objective.THROUGHPUT):
        raise errors.SettingsError(f"objective {objective.value}: a chain is planned for latency or throughput")
    found = chains.fastest(chain, count=RUNNERS_UP + 1, terms=terms)
    if not found:
        raise errors.SettingsError("no partition: no stage can hold its piece, or the pins contradict one another")
    if objective is Objective.THROUGHPUT:
        best = chains.smoothest(chain, terms=terms)
        found = [best, *(other for other in found if other != best)] if best else found
    can_share = len(chain.places) > len(chain.stages)
    return Outcome(
        chain=chain,
        objective=objective,
        found=tuple(found[: RUNNERS_UP + 1]),
        rivals={
            "parameter_count": rivals.by_parameter_count(chain),
            "bisection": rivals.by_bisection(chain),
        }
        if can_share
        else {},
    )


def pin(chain: Chain, place: str, stage: str) -> tuple[int, int]:
    """The step that ends at a cut, and the stage that has to run it: an entry of `Terms.pins`."""
    names = [entry.name for entry in chain.stages]
    if stage not in names:
        raise errors.SettingsError(f"pin on stage {stage!r}: the stages are {', '.join(names)}")
    if place not in chain.places[1:]:
        raise errors.SettingsError(f"pin of {place}: no stage's profile times a piece that ends there")
    return chain.places.index(place) - 1, names.index(stage)


def describe(chain: Chain, found: Partition) -> dict[str, object]:
    return {
        "latency_ms": found.latency_s * 1000,
        "slowest_ms": found.slowest_s * 1000,
        "throughput_fps": 1 / found.slowest_s if found.slowest_s > 0 else None,
        "pieces": [_piece(chain, piece) for piece in found.pieces],
    }


def _piece(chain: Chain, piece: Piece) -> dict[str, object]:
    return {
        "stage": chain.stages[piece.stage].name,
        "from": chain.places[piece.start],
        "to": chain.places[piece.stop],
        "hop_ms": piece.hop_s * 1000,
        "compute_ms": piece.compute_s * 1000,
        "stream_ms": piece.stream_s * 1000,
        "parameter_bytes": chain.parameter_bytes[piece.stop] - chain.parameter_bytes[piece.start],
        "bytes_in": chain.wire_bytes[piece.start],
    }
