"""Interpolates the timings of cuts between two measured ones: a shorter head is a part of every longer head.

Pure. Between two measured cuts time grows with the work: multiply-accumulates, and moved bytes.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from tflsplit.graph.cuts import Cut
from tflsplit.timings.profiles import CutTiming, Origin, Timing
from tflsplit.values.classes import dataclass

# Small CPUs do some ten int8 multiply-accumulates in the time of moving one byte of a feature map.
_MACS_A_BYTE = 10


def affordable(cuts: Sequence[Cut], seconds_a_cut: float, budget_s: float) -> tuple[Cut, ...]:
    """All cuts, or as many as the budget allows, evenly over the work; always the first and the last."""
    count = int(budget_s / max(seconds_a_cut, 1e-9))
    if count >= len(cuts):
        return tuple(cuts)
    work = _work(cuts)
    last = max(count, 2) - 1
    marks = (work[-1] * number / last for number in range(last + 1))
    places = {min(range(len(cuts)), key=lambda place: (abs(work[place] - mark), place)) for mark in marks}
    return tuple(cuts[place] for place in sorted(places | {0, len(cuts) - 1}))


def fill(cuts: Sequence[Cut], timed: Mapping[str, CutTiming]) -> tuple[CutTiming, ...]:
    """The timing of every cut; those that are not in `timed` are interpolated between neighbours that are."""
    work = _work(cuts)
    known = [place for place, cut in enumerate(cuts) if cut.id in timed]
    filled = {place: timed[cuts[place].id] for place in known}
    for low, high in pairwise(known):
        near, far = _Known(cuts[low], filled[low]), _Known(cuts[high], filled[high])
        for place in range(low + 1, high):
            share = (work[place] - work[low]) / max(work[high] - work[low], 1e-9)
            filled[place] = _between(cuts[place], near, far, share)
    return tuple(filled[place] for place in sorted(filled))


@dataclass(frozen=True, slots=True)
class _Known:
    cut: Cut
    timing: CutTiming

    @property
    def coded_share(self) -> float:
        coded_bytes = self.timing.coded_bytes
        return 1.0 if coded_bytes is None else coded_bytes / self.cut.payload_bytes


def _work(cuts: Sequence[Cut]) -> list[float]:
    """Work before each cut, in multiply-accumulates."""
    work = [0.0]
    for before, after in pairwise(cuts):
        step = after.head.macs - before.head.macs + _MACS_A_BYTE * (before.payload_bytes + after.payload_bytes)
        work.append(work[-1] + step)
    return work


def _between(cut: Cut, low: _Known, high: _Known, share: float) -> CutTiming:
    """`share` of the work between `low` and `high` is done at `cut`."""
    near, far = low.timing, high.timing
    is_coded = near.coded_bytes is not None
    return CutTiming(
        cut=cut.id,
        run=_mixed(near.run, far.run, share),
        coding=_scaled(near.coding, cut.payload_bytes / max(1, low.cut.payload_bytes)),
        coded_bytes=cut.payload_bytes * (low.coded_share + high.coded_share) / 2 if is_coded else None,
        load_s=near.load_s + share * (far.load_s - near.load_s),
        memory_bytes=round(near.memory_bytes + share * (far.memory_bytes - near.memory_bytes)),
    )


def _mixed(near: Timing, far: Timing, share: float) -> Timing:
    """Interpolates each percentile."""
    count = min(near.runs, far.runs)
    percents = [100 * (number + 0.5) / count for number in range(count)]
    pairs = ((near.percentile_s(percent), far.percentile_s(percent)) for percent in percents)
    return Timing(tuple(low_s + share * (high_s - low_s) for low_s, high_s in pairs), Origin.ESTIMATED)


def _scaled(timing: Timing, factor: float) -> Timing:
    return Timing(tuple(sample * factor for sample in timing.samples_s), Origin.ESTIMATED)
