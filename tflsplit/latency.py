"""Latencies in the three percentiles that this project quotes."""

from collections.abc import Collection

import numpy as np


def percentiles(seconds: Collection[float]) -> dict[str, float | None]:
    """{"p50", "p95", "p99"} in milliseconds; None each where nothing was measured."""
    if not seconds:
        return {"p50": None, "p95": None, "p99": None}
    values = np.percentile(np.fromiter(seconds, float, len(seconds)), (50, 95, 99)) * 1000
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99"), values, strict=True)}
