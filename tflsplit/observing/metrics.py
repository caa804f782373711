"""What can be measured of a running edge or cloud, as monitoring systems understand it: named metrics and their values.

Pure values: what is counted is counted where it happens, and read from there when somebody asks.
"""

import enum
import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Kind(str, enum.Enum):
    """Counters only grow, until their process starts anew."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """`name` is without the prefix that says whose it is. Units are base units (seconds, bytes) and end the name, but
    for counters, whose names end in `_total`. Each label takes few values: none may name a frame, or a peer at will."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(_NAME.fullmatch(name) for name in (self.name, *self.labels)):
            raise ValueError(f"metric {self.name!r}{self.labels}: names are of the characters a-z 0-9 _")
        if (self.kind is Kind.COUNTER) != self.name.endswith("_total"):
            raise ValueError(f"metric {self.name}: counters end in _total, and nothing else does")


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many durations fell at or below each of `bounds_s` (above the one before), and last how many above all."""

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
