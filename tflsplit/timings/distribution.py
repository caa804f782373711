"""How long something takes: median, 95th percentile, mean and variance, and where the figures come from.

Plain Python: a plan reads a thousand timings of a few dozen samples each, for which numpy's calls would cost more.
"""

import math
from collections.abc import Iterable, Sequence

from tflsplit.timings.profiles import Origin, Timing
from tflsplit.values.classes import dataclass

# A sum is as good as its worst part.
_FROM_BEST = (Origin.MEASURED, Origin.STATED, Origin.ESTIMATED)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds; `variance_s2` in seconds squared."""

    p50_s: float
    p95_s: float
    mean_s: float
    variance_s2: float
    origin: Origin


NOTHING = Distribution(0.0, 0.0, 0.0, 0.0, Origin.MEASURED)
# A queue that grows for ever.
NEVER = Distribution(math.inf, math.inf, math.inf, math.inf, Origin.ESTIMATED)


def of(timing: Timing) -> Distribution:
    samples = sorted(timing.samples_s)
    mean_s = math.fsum(samples) / len(samples)
    variance_s2 = math.fsum((sample - mean_s) ** 2 for sample in samples) / max(1, len(samples) - 1)
    return Distribution(percentile(samples, 0.50), percentile(samples, 0.95), mean_s, variance_s2, timing.origin)


def fixed(seconds: float, origin: Origin) -> Distribution:
    """Something that always takes the same time."""
    return Distribution(seconds, seconds, seconds, 0.0, origin)


def sometimes(seconds: float, share: float) -> Distribution:
    """Something that takes `seconds` in a share of all frames and nothing in the others. Estimated."""
    return Distribution(
        seconds if share > 0.50 else 0.0,
        seconds if share > 0.05 else 0.0,
        share * seconds,
        share * (1 - share) * seconds**2,
        Origin.ESTIMATED,
    )


def total(parts: Iterable[Distribution]) -> Distribution:
    """One after the other, taken as independent.

    Medians add up nearly (exactly for symmetric distributions). The distances from median to 95th percentile add up as
    the root of their squares, as for normal distributions: not every part is slow in the same frame.
    """
    p50_s = above_s2 = mean_s = variance_s2 = 0.0
    origins = set()
    # One pass: the search for break-even values adds up some hundred thousand of these.
    for part in parts:
        if part is NOTHING:
            continue
        if part is NEVER:
            return NEVER
        p50_s += part.p50_s
        above_s2 += (part.p95_s - part.p50_s) ** 2
        mean_s += part.mean_s
        variance_s2 += part.variance_s2
        origins.add(part.origin)
    return Distribution(p50_s, p50_s + math.sqrt(above_s2), mean_s, variance_s2, worst(origins))


def worst(origins: Iterable[Origin]) -> Origin:
    return max(origins, key=_FROM_BEST.index, default=Origin.MEASURED)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Interpolated between the two neighbours, as numpy's default is."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
