"""Bandwidth and round trip from timed messages of several sizes. Pure; one or two outliers change neither."""

from collections.abc import Sequence
from itertools import combinations

from tflsplit.timings.links import Point


def fit(points: Sequence[Point]) -> tuple[float, float]:
    """Bits a second, and seconds that an empty message takes: `median round trip = rtt + 8 · bytes / bandwidth`.

    The slope is the median of those between all pairs of sizes, each weighed by its distance (Theil–Sen): pairs of
    small sizes say little of it. Where nothing grows with the size, the best throughput stands for the bandwidth.
    """
    ordered = sorted(points, key=lambda point: point.payload_bytes)
    slopes = [
        (
            (far.round_trip.p50_s - near.round_trip.p50_s) / (far.payload_bytes - near.payload_bytes),
            float(far.payload_bytes - near.payload_bytes),
        )
        for near, far in combinations(ordered, 2)
    ]
    seconds_a_byte = _weighted_median(slopes) if slopes else 0.0
    smallest = ordered[0]
    if seconds_a_byte <= 0:
        return max(point.throughput_bps for point in points), smallest.round_trip.p50_s
    rtt_s = smallest.round_trip.p50_s - seconds_a_byte * smallest.payload_bytes
    return 8 / seconds_a_byte, max(0.0, rtt_s)


def _weighted_median(entries: Sequence[tuple[float, float]]) -> float:
    half = sum(weight for _, weight in entries) / 2
    seen = 0.0
    for value, weight in sorted(entries):
        seen += weight
        if seen >= half:
            return value
    raise ValueError("no entries")
