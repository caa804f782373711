"""Metrics of a running edge, cloud or worker: their names, kinds and labels, and their values.

Pure values: things are counted where they happen, and read from there when metrics are asked for.
"""

import enum
import re

from tflsplit.values.classes import dataclass

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Kind(str, enum.Enum):
    """Counters only grow, until their process starts again."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is without the prefix of who has it. Units are base units (seconds, bytes) and end the name, except for
    counters, whose names end in `_total`. A label has few values: never a frame, nor whatever a peer sends."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(_NAME.fullmatch(name) for name in (self.name, *self.labels)):
            raise ValueError(f"metric {self.name!r}{self.labels}: names are of the characters a-z 0-9 _")
        if (self.kind is Kind.COUNTER) != self.name.endswith("_total"):
            raise ValueError(f"metric {self.name}: counters end in _total, and nothing else does")


def counter(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, Kind.COUNTER, words, labels)


def gauge(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, Kind.GAUGE, words, labels)


def histogram(name: str, words: str, *labels: str) -> Metric:
    return Metric(name, Kind.HISTOGRAM, words, labels)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many durations were up to each of `bounds_s` (and above the one before), and last how many were above all."""

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    sum_s: float

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds_s) + 1:
            raise ValueError(f"{len(self.counts)} counts for {len(self.bounds_s)} bounds, expected one more")

    @property
    def count(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric, for one value of each of its labels."""

    value: float | Distribution
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """A metric under its full name, with its values of now."""

    prefix: str
    metric: Metric
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        for sample in self.samples:
            if len(sample.labels) != len(self.metric.labels):
                raise ValueError(f"{self.name}: labels {sample.labels}, expected {self.metric.labels}")
        if len({sample.labels for sample in self.samples}) != len(self.samples):
            raise ValueError(f"{self.name}: two values for the same labels, which would spoil a whole scrape")

    @property
    def name(self) -> str:
        return f"{self.prefix}{self.metric.name}"
