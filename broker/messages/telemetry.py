"""Telemetry: the metrics that a device publishes every few seconds, for devices that nobody can connect to.

    {"boot": "00c0ffee00c0ffee", "sent_ms": …, "state": "ok", "why": null, "fps": 9.8,
     "latency_ms": {"p50": …, "p95": …, "p99": …}, "moved": {"before": "input", "after": "op012", "reason": "link",
     "ago_s": 3.2}, "metrics": {"frames_total": 12, "dropped_total": {"expired": 3},
     "latency_seconds": {"bounds_s": […], "counts": […], "sum_s": …}, "build_info": [["0.1.0", "9f…", "op012", 1]], …}}

`metrics` are those of `tflsplit.observing.catalogue`: a number without labels, an object of numbers for one label, and
for several labels a list whose entries end in the number. `moved` is the last move of a cut that moves, if it did. The
messages of `broker.messages.probes` and `siblings` and the reports of `updates`, which begin with four letters of their
own, use the same topic.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from broker.messages import siblings, updates
from tflsplit import errors, strict_json
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Distribution, Family, Kind, Metric, Sample
from tflsplit.values.classes import asdict, dataclass

PROBE_MAGIC = b"TFSP"
_MOST_BYTES = 64 << 10
_MOST_SAMPLES = 32
_MOST_LABEL = 128
_MOST_BOUNDS = 32


@dataclass(frozen=True, slots=True)
class Moved:
    """The last move of the cut."""

    before: str
    after: str
    reason: str
    ago_s: float


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`families` are of the metrics in `catalogue.IN_TELEMETRY`; `fps` and `latency_ms` are since the last message."""

    boot: int
    sent_ms: float
    state: str
    why: str | None
    fps: float
    latency_ms: Mapping[str, float | None]
    families: tuple[Family, ...]
    moved: Moved | None = None

    def as_json(self) -> bytes:
        fields = {
            "boot": f"{self.boot:016x}",
            "sent_ms": self.sent_ms,
            "state": self.state,
            "why": self.why,
            "fps": self.fps,
            "latency_ms": dict(self.latency_ms),
            **({} if self.moved is None else {"moved": asdict(self.moved)}),
            "metrics": {family.metric.name: _values(family) for family in self.families},
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def is_for_others(payload: bytes) -> bool:
    """Whether a message on the topic is a probe of the link, for siblings, or a report of an update."""
    return payload.startswith((PROBE_MAGIC, siblings.MAGIC, updates.REPORT_MAGIC))


def parse(payload: bytes) -> Telemetry:
    """FrameError for anything that no device of ours would publish; unknown metrics are ignored."""
    if len(payload) > _MOST_BYTES:
        raise errors.FrameError(f"telemetry is {len(payload)} bytes, at most {_MOST_BYTES} are accepted")
    try:
        fields: Any = strict_json.parse(payload)
        told = fields["metrics"]
        return Telemetry(
            int(fields["boot"], 16),
            _number(fields["sent_ms"]),
            str(fields["state"])[:_MOST_LABEL],
            None if fields.get("why") is None else str(fields["why"])[:_MOST_LABEL],
            _number(fields["fps"]),
            {str(name): None if value is None else _number(value) for name, value in fields["latency_ms"].items()},
            tuple(_family(metric, told[metric.name]) for metric in catalogue.IN_TELEMETRY if metric.name in told),
            _moved(fields.get("moved")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as problem:
        raise errors.FrameError(f"telemetry is {payload[:60]!r}: {problem!r:.100}") from problem


def _moved(told: Any) -> Moved | None:
    if told is None:
        return None
    before, after, reason = (str(told[name])[:_MOST_LABEL] for name in ("before", "after", "reason"))
    return Moved(before, after, reason, _number(told["ago_s"]))


def _values(family: Family) -> object:
    if not family.metric.labels:
        return _value(family.samples[0]) if family.samples else None
    if len(family.metric.labels) == 1:
        return {sample.labels[0]: _value(sample) for sample in family.samples}
    return [[*sample.labels, _value(sample)] for sample in family.samples]


def _value(sample: Sample) -> object:
    found = sample.value
    if isinstance(found, Distribution):
        return {"bounds_s": found.bounds_s, "counts": found.counts, "sum_s": found.sum_s}
    return float(found)  # a flag, too, is a number


def _family(metric: Metric, told: Any) -> Family:
    if not metric.labels:
        entries: Iterable[Any] = () if told is None else ((told,),)
    elif len(metric.labels) == 1:
        entries = ((label, value) for label, value in told.items())
    else:
        entries = told
    if len(metric.labels) > 0 and len(told) > _MOST_SAMPLES:
        raise ValueError(f"{len(told)} values of {metric.name}, at most {_MOST_SAMPLES} are accepted")
    return Family("", metric, tuple(_sample(metric, *entry) for entry in entries))


def _sample(metric: Metric, *entry: Any) -> Sample:
    *labels, told = entry
    if not all(isinstance(label, str) and len(label) <= _MOST_LABEL and label.isprintable() for label in labels):
        raise ValueError(f"labels {labels!r:.60} of {metric.name}")
    return Sample(_distribution(told) if metric.kind is Kind.HISTOGRAM else _number(told), tuple(labels))


def _distribution(told: Any) -> Distribution:
    bounds, counts = told["bounds_s"], told["counts"]
    if len(bounds) > _MOST_BOUNDS or any(type(count) is not int or count < 0 for count in counts):
        raise ValueError(f"histogram {told!r:.60}")
    if sorted(set(map(_number, bounds))) != list(bounds):
        raise ValueError(f"histogram bounds {bounds!r:.60}")
    return Distribution(tuple(bounds), tuple(counts), _number(told["sum_s"]))


def _number(told: Any) -> float:
    if type(told) not in (int, float) or not math.isfinite(told):
        raise ValueError(f"{told!r:.60} is no number")
    return float(told)
