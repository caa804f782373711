"""When a timing has been repeated enough: it is warm, and its median is known closely. Pure: no clock here."""

import math
from collections.abc import Sequence

# Two-sided 95 % of a normal distribution.
_Z = 1.96
# Caches, clock rates and lazily packed weights have settled once two more runs were no faster than this share.
_STILL_GAINING = 0.97


def is_warm(samples_s: Sequence[float]) -> bool:
    """Whether the last two runs were no longer faster than those before them."""
    return len(samples_s) >= 3 and min(samples_s[-2:]) >= _STILL_GAINING * min(samples_s[:-2])


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """Where the median lies with 95 % confidence, whatever the distribution: two order statistics.

    The ranks are those of the binomial distribution's normal approximation; few samples give their whole range.
    """
    ordered = sorted(samples)
    reach = _Z * math.sqrt(len(ordered)) / 2
    low = max(0, math.floor(len(ordered) / 2 - reach))
    high = min(len(ordered) - 1, math.ceil(len(ordered) / 2 + reach))
    return ordered[low], ordered[high]


def is_narrow(samples: Sequence[float], share: float) -> bool:
    """Whether the median is known to within `share` of itself on either side; never of fewer than six samples."""
    if len(samples) < 6:
        return False
    low, high = median_interval(samples)
    return high - low <= 2 * share * (high + low) / 2
