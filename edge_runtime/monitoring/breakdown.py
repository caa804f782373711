"""Summarises a trace: percentiles of each part, which part dominates, and the trace in Perfetto's format."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from edge_runtime.monitoring.frame_trace import PARTS
from tflsplit.timings.latency import percentiles


def summarise(lines: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """{"frames", "total_ms", "parts_ms": {part: percentiles}, "dominant": {part: frames it took longest in}}."""
    by_part: dict[str, list[float]] = {}
    totals_s = []
    dominant: Counter[str] = Counter()
    for line in lines:
        parts = line["parts_ms"]
        totals_s.append(line["total_ms"] / 1e3)
        dominant[max(parts, key=parts.__getitem__)] += 1
        for part, value in parts.items():
            by_part.setdefault(part, []).append(value / 1e3)
    return {
        "frames": len(totals_s),
        "total_ms": percentiles(totals_s),
        "parts_ms": {part: percentiles(by_part[part]) for part in PARTS if part in by_part},
        "dominant": dict(dominant.most_common()),
    }


def as_perfetto(lines: Iterable[Mapping[str, Any]]) -> dict[str, object]:
    """Chrome's trace format, which Perfetto opens: frames that overlap in time get rows of their own."""
    events = []
    for line in lines:
        at_us = line["captured_ns"] / 1e3
        for part in PARTS:
            if part not in line["parts_ms"]:
                continue
            event = {"cat": "frame", "name": part, "id": line["sequence"], "pid": 1, "tid": 1}
            events.append(event | {"ph": "b", "ts": at_us})
            at_us += max(0.0, line["parts_ms"][part]) * 1e3
            events.append(event | {"ph": "e", "ts": at_us})
    return {"traceEvents": events, "displayTimeUnit": "ms"}
