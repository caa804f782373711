"""The candidate filter of dynamic split computing (Bakhtiarnia et al., ICASSP 2023), counted in bytes.

A natural bottleneck is a place with less to send than the input; a useful one, than every earlier bottleneck too. The
paper counts elements, although a split sends 4-byte floats and full offloading 1-byte pixels. Here both are counted in
bytes as sent, and compared with the smallest form of the input that competes. What the filter leaves out is compared
with what it keeps.
"""

import math
from collections.abc import Sequence

from tflsplit import text
from tflsplit.planning.candidates import Candidate
from tflsplit.planning.decision import Decision, Judged, rank
from tflsplit.values.classes import dataclass

_UNSPLIT = ("input", "output")


@dataclass(frozen=True, slots=True)
class Filtered:
    """`kept` are ids of useful bottlenecks and of all candidates that do not split, which always compete;
    `by_elements` those that counting elements would have kept. `missed_s` is by how much the pick of all candidates is
    faster than the pick of `kept`; None where nothing kept is feasible.
    """

    kept: tuple[str, ...]
    by_elements: tuple[str, ...]
    best_kept: str | None
    missed_s: float | None


def compare(decision: Decision) -> Filtered:
    """What the filter keeps of a decision's candidates, and what picking from these alone would have cost."""
    kept = _useful(decision.judged)
    names = {entry.id for entry in kept}
    feasible = [entry.cost for entry in kept if entry.is_feasible]
    best = rank(feasible, decision.goal)[0] if feasible else None
    missed_s = None
    if best is not None and decision.choice is not None:
        missed_s = best.latency.p50_s - decision.choice.cost.latency.p50_s
    return Filtered(
        kept=tuple(entry.id for entry in decision.judged if entry.id in names),
        by_elements=tuple(_by_elements(decision.judged)),
        best_kept=best.candidate.id if best else None,
        missed_s=missed_s,
    )


def summary(found: Filtered, cut_count: int) -> str:
    """One line: how many of the cuts the filter keeps, and how much slower the best of these is than the pick."""
    splits = [name for name in found.kept if name not in _UNSPLIT and not name.startswith("input:")]
    cuts = text.counted(cut_count, "cut")
    kept = f"natural bottlenecks: {len(splits)} of {cuts}, {len(found.by_elements)} if elements are counted"
    if found.missed_s is None or found.best_kept is None:
        return f"{kept}; none of them meets the constraints"
    if found.missed_s <= 0:
        return f"{kept}; the pick {'is one of them' if found.best_kept in splits else 'does not split'}"
    return f"{kept}; the best of them, {found.best_kept}, is {found.missed_s * 1e3:.4g} ms slower than the pick"


def _useful(judged: Sequence[Judged]) -> list[Judged]:
    unsplit = [entry for entry in judged if not entry.cost.candidate.is_split]
    inputs = [entry.cost.candidate for entry in unsplit if entry.cost.candidate.cut.position == 0]
    least = min((candidate.payload_bytes for candidate in inputs), default=math.inf)
    kept = []
    for entry in judged:
        candidate = entry.cost.candidate
        if candidate.is_split and candidate.bits is None and candidate.payload_bytes < least:
            kept.append(entry)
            least = candidate.payload_bytes
    return [*unsplit, *kept]


def _is_stored(candidate: Candidate) -> bool:
    return candidate.input_codec in (None, "int8") and candidate.bits is None


def _by_elements(judged: Sequence[Judged]) -> list[str]:
    cuts = [entry.cost.candidate for entry in judged if _is_stored(entry.cost.candidate)]
    inputs = [sum(spec.elements for spec in entry.cut.boundary) for entry in cuts if entry.cut.position == 0]
    least = inputs[0] if inputs else 0
    found = []
    for entry in cuts:
        elements = sum(spec.elements for spec in entry.cut.boundary)
        if entry.is_split and elements < least:
            found.append(entry.id)
            least = elements
    return found
