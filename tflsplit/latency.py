"""Latencies in the three percentiles that this project quotes."""

from collections import deque
from collections.abc import Collection

import numpy as np

# Enough for a p99 that rests on a hundred values, and flat in memory however long a process runs.
KEPT = 10_000


def recent() -> deque[float]:
    """A place for latencies that keeps the last `KEPT`."""
    return deque(maxlen=KEPT)


def percentiles(seconds: Collection[float]) -> dict[str, float | None]:
    """{"p50", "p95", "p99"} in milliseconds; None each where nothing was measured."""
    if not seconds:
        return {"p50": None, "p95": None, "p99": None}
    values = np.percentile(np.fromiter(seconds, float, len(seconds)), (50, 95, 99)) * 1000
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}
