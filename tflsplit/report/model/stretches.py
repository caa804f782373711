"""Where the time goes: that of all operators up to each cut that a profile timed, and of the stretches between two of
them.
"""

import itertools
import math
import statistics
from collections.abc import Sequence

from tflsplit.graph.cuts import Cut
from tflsplit.timings.profiles import Origin, Profile, Side, Timing
from tflsplit.values.classes import dataclass

_OF_MEDIAN = 1.2533  # the error of a median is that of the mean of as many, times this
_SIGMAS = 2.0


@dataclass(frozen=True, slots=True)
class Upto:
    """The time of all operators before `position`: a head's own, or what a tail is shorter than the whole model. The
    runs of its cut leave it uncertain by `error_s`."""

    position: int
    seconds: float
    error_s: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """The operators from `start` up to, and without, `stop`."""

    start: int
    stop: int
    seconds: float
    error_s: float

    @property
    def stands_out(self) -> bool:
        return self.seconds > _SIGMAS * self.error_s


def upto(profile: Profile, cuts: Sequence[Cut]) -> list[Upto]:
    """In the order of operators. What a profile estimated for a cut, from the times of others, says nothing new."""
    timings = [(cut.position, profile.timing(cut.id)) for cut in cuts]
    timed = [(at, each.run) for at, each in timings if each is not None and each.run.origin is Origin.MEASURED]
    if profile.side is Side.EDGE:
        return [Upto(at, run.p50_s, _error_s(run)) for at, run in timed]
    return [Upto(at, timed[0][1].p50_s - run.p50_s, _error_s(run)) for at, run in timed]


def between(found: Sequence[Upto]) -> list[Stretch]:
    return [
        Stretch(one.position, other.position, other.seconds - one.seconds, math.hypot(one.error_s, other.error_s))
        for one, other in itertools.pairwise(found)
    ]


def _error_s(timing: Timing) -> float:
    runs = timing.samples_s
    return _OF_MEDIAN * statistics.stdev(runs) / math.sqrt(len(runs)) if len(runs) > 1 else 0.0
