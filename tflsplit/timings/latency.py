"""Latencies: the last ones kept for three percentiles, and all of them counted in a histogram."""

from bisect import bisect_left
from collections import deque
from collections.abc import Collection

import numpy as np

# Enough for a p99 that rests on a hundred values, and flat in memory however long a process runs.
KEPT = 10_000

# From a head on an Edge TPU to a cloud over a satellite; each bound is two or two and a half times the one before.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Latencies(deque[float]):
    """The last `KEPT` latencies in seconds. `append` adds each to `counts` too, which never forgets: the number
    of those up to each of `BOUNDS_S` and above the one before, then of those above all. One thread appends, any may
    read."""

    def __init__(self) -> None:
        super().__init__(maxlen=KEPT)
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def append(self, seconds: float) -> None:
        super().append(seconds)
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


def percentiles(seconds: Collection[float]) -> dict[str, float | None]:
    """{"p50", "p95", "p99"} in milliseconds; None each where nothing was measured."""
    if not seconds:
        return {"p50": None, "p95": None, "p99": None}
    values = np.percentile(np.fromiter(seconds, float, len(seconds)), (50, 95, 99)) * 1000
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}
