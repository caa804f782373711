"""Answers against the truth: accuracy, confusions and classes; of numbers their errors. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

_SIGMAS = 3.0  # of the difference: some ten ways are tried, and one may look better by chance
_LEAST_GAIN = 0.05
_LEAST_SHRINK = 0.8  # of the mean error


@dataclass(frozen=True, slots=True)
class Classified:
    """`of_classes` holds (right, samples) by the true class; `confusions` (truth, answer, count), the most frequent
    first."""

    right: int
    samples: int
    of_classes: Mapping[str, tuple[int, int]]
    confusions: tuple[tuple[str, str, int], ...]

    @property
    def accuracy(self) -> float:
        return self.right / self.samples

    def as_json(self) -> dict[str, object]:
        classes = [{"class": name, "right": one, "samples": all_} for name, (one, all_) in self.of_classes.items()]
        confusions = [{"class": truth, "taken_for": taken, "count": count} for truth, taken, count in self.confusions]
        counts = {"accuracy": self.accuracy, "right": self.right, "samples": self.samples}
        return {**counts, "classes": classes, "confusions": confusions}


@dataclass(frozen=True, slots=True)
class Regressed:
    """Mean absolute error and R² of each number of the outputs; R² is None where the truth never varies."""

    mae: tuple[float, ...]
    r2: tuple[float | None, ...]
    samples: int

    def as_json(self) -> dict[str, object]:
        return {"mae": list(self.mae), "r2": list(self.r2), "samples": self.samples}


def of_labels(truths: Sequence[str], answers: Sequence[str | None]) -> Classified:
    told = [answer if answer is not None else "nothing" for answer in answers]
    samples, right = (
        Counter(truths),
        Counter(truth for truth, answer in zip(truths, told, strict=True) if truth == answer),
    )
    wrong = Counter((truth, answer) for truth, answer in zip(truths, told, strict=True) if truth != answer)
    by_class = {name: (right[name], samples[name]) for name in sorted(samples)}
    return Classified(
        right.total(), len(truths), by_class, tuple((*pair, count) for pair, count in wrong.most_common())
    )


def of_numbers(truths: Array, answers: Array) -> Regressed:
    """Both (samples, numbers)."""
    apart = answers.astype(np.float64) - truths
    spread = np.square(truths - truths.mean(0)).sum(0)
    left = np.square(apart).sum(0)
    r2 = tuple(None if all_ == 0.0 else float(1.0 - rest / all_) for rest, all_ in zip(left, spread, strict=True))
    return Regressed(tuple(np.abs(apart).mean(0).tolist()), r2, len(truths))


def is_clearly_more_right(own: Sequence[bool], other: Sequence[bool]) -> bool:
    """Whether the same samples are right more often, by more than chance does: McNemar's test of what differs."""
    gained = sum(two and not one for one, two in zip(own, other, strict=True))
    lost = sum(one and not two for one, two in zip(own, other, strict=True))
    return gained - lost > max(_SIGMAS * math.sqrt(gained + lost), _LEAST_GAIN * len(own))


def is_clearly_nearer(own: Array, other: Array) -> bool:
    """Whether errors (one each sample) of another way are smaller, by more than chance makes them."""
    gained = own - other
    spread = float(gained.std()) / math.sqrt(len(gained))
    return float(gained.mean()) > _SIGMAS * spread and float(other.mean()) < _LEAST_SHRINK * float(own.mean())
