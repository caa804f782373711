"""Whether a device does as well with the new model as with the one before: its latency, and how its labels come.

Pure. Both are compared on one device with itself, before and after, in what the device and its cloud publish anyway.
"""

import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

from broker.rollout.terms import Terms
from tflsplit.values.classes import dataclass, field

# Medians of what a device tells every ten seconds, and labels of single answers: fewer say nothing.
_LEAST_LATENCIES, _LEAST_ANSWERS = 3, 20
_MOST_LATENCIES, _MOST_LABELS = 64, 256


@dataclass(slots=True)
class Observed:
    """What was seen of a device with one model."""

    latencies_ms: list[float] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)

    def take_latency(self, median_ms: float | None) -> None:
        if median_ms is not None and len(self.latencies_ms) < _MOST_LATENCIES:
            self.latencies_ms.append(median_ms)

    def take_label(self, label: str | None) -> None:
        if label is not None and (label in self.labels or len(self.labels) < _MOST_LABELS):
            self.labels[label] += 1

    def suffices(self, terms: Terms) -> bool:
        has_latencies = len(self.latencies_ms) >= _LEAST_LATENCIES or terms.most_latency is None
        return has_latencies and (self.labels.total() >= _LEAST_ANSWERS or terms.least_agreement is None)

    @property
    def latency_ms(self) -> float | None:
        return statistics.median(self.latencies_ms) if len(self.latencies_ms) >= _LEAST_LATENCIES else None

    @property
    def distribution(self) -> Mapping[str, float] | None:
        total = self.labels.total()
        return {label: count / total for label, count in self.labels.items()} if total >= _LEAST_ANSWERS else None

    def as_json(self) -> dict[str, Any]:
        return {"latency_ms": self.latency_ms, "labels": self.distribution}


@dataclass(frozen=True, slots=True)
class Judgement:
    """`lacking` names what was asked for and could not be compared."""

    problem: str | None
    lacking: tuple[str, ...]


def judge(before: Mapping[str, Any], after: Observed, terms: Terms) -> Judgement:
    """`before` is what `Observed.as_json` gave."""
    problems, lacking = [], []
    if terms.most_latency is not None:
        was_ms, is_ms = before.get("latency_ms"), after.latency_ms
        if was_ms is None or is_ms is None:
            lacking.append("latency")
        elif is_ms > was_ms * terms.most_latency:
            problems.append(
                f"its median latency is {is_ms:.1f} ms, and was {was_ms:.1f} ms: more than {terms.most_latency:g} times"
            )
    if terms.least_agreement is not None:
        was, now = before.get("labels"), after.distribution
        if was is None or now is None:
            lacking.append("agreement")
        elif (common := agreement(was, now)) < terms.least_agreement:
            problems.append(
                f"its labels come otherwise than before: {common:.0%} in common, at least {terms.least_agreement:.0%} "
                "are expected"
            )
    return Judgement("; ".join(problems) or None, tuple(lacking))


def agreement(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """What two distributions have in common: 1 where they are equal, 0 where no label is in both."""
    return sum(min(share, other.get(label, 0.0)) for label, share in one.items())
