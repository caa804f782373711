"""How far two boundaries are apart, in integer steps: what rounding changes, and what only another computation does.

Differences are judged against what the other kernels of one machine make of the same model (`Version`s): rounding in
any runtime changes about as much as there. A tensor of floats counts in 128ths of the largest value of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tflsplit.graph.tensors import Array, decibels

Boundary = tuple[Array, ...]

# One operator that rounds otherwise changes half of its elements by a step at most (this is the square).
_FLOOR = 0.125


class Apart(NamedTuple):
    """Over all tensors and samples: how many differ, how many of their elements, and by how many steps at most."""

    samples: int
    differing: int
    elements: int
    differing_elements: int
    steps: int

    @property
    def is_equal(self) -> bool:
        return self.differing == 0

    @property
    def share(self) -> float:
        return self.differing_elements / max(self.elements, 1)

    def __str__(self) -> str:
        if self.is_equal:
            return "equal"
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        return f"{self.differing} of {self.samples} differ, by at most {steps}"

    def as_json(self) -> dict[str, object]:
        return {
            "samples": self.samples,
            "differing": self.differing,
            "max_steps": self.steps,
            "differing_share": self.share,
        }


def apart(found: Sequence[Boundary], wanted: Sequence[Boundary]) -> Apart:
    """Two lists of the same samples; shapes and types are the same."""
    differing = elements = changed = most = 0
    for ours, theirs in zip(found, wanted, strict=True):
        before = changed
        for one, other in zip(ours, theirs, strict=True):
            elements += one.size
            if one.tobytes() != other.tobytes():
                steps = np.abs(_in_steps(one, other) - _in_steps(other, other))
                changed += max(1, int(np.count_nonzero(steps)))
                most = max(most, 1, int(np.ceil(np.nanmax(steps, initial=0.0))))
        differing += changed > before
    return Apart(len(found), differing, elements, changed, most)


def most_apart(found: Array, wanted: Array) -> float:
    """The largest difference of two arrays in steps."""
    return float(np.abs(_in_steps(found, wanted) - _in_steps(wanted, wanted)).max(initial=0.0))


def excess(found: Sequence[Boundary], versions: Sequence[Sequence[Boundary]]) -> float:
    """How many times more `found` is off than `versions` of the same samples are from each other.

    Taken for each channel (the last axis), since a wrong weight shows in one first, and from the nearest version.
    """
    tensors = range(len(found[0]))
    ours = [_column(found, place) for place in tensors]
    theirs = [[_column(each, place) for each in versions] for place in tensors]
    return min(max(_excess(ours[place], theirs[place], near) for place in tensors) for near in range(len(versions)))


def signal_db(found: Sequence[Array], wanted: Sequence[Array], zero_point: int = 0) -> float:
    """Signal to error of one tensor over all samples; the signal is counted from `zero_point`."""
    ours, theirs = (np.stack(list(each)).astype(np.float64) - zero_point for each in (found, wanted))
    return decibels(float(np.square(theirs).sum()), float(np.square(ours - theirs).sum()))


def _excess(found: Array, versions: Sequence[Array], near: int) -> float:
    spread = np.zeros(found.shape[-1])
    for place, one in enumerate(versions):
        for other in versions[:place]:
            spread = np.maximum(spread, _energy(one, other))
    ratio = _energy(found, versions[near]) / (spread + spread.mean() + _FLOOR)
    return float(np.sqrt(ratio.max(initial=0.0)))


def _column(samples: Sequence[Boundary], place: int) -> Array:
    stacked = np.stack([sample[place] for sample in samples])
    return stacked.reshape(-1, stacked.shape[-1] if stacked.ndim > 1 else 1)


def _energy(one: Array, other: Array) -> Array:
    energy: Array = np.square(_in_steps(one, other) - _in_steps(other, other)).mean(0)
    return energy


def _in_steps(array: Array, like: Array) -> Array:
    if np.issubdtype(array.dtype, np.integer) or array.dtype == np.bool_:
        return array.astype(np.float64)
    largest = float(np.abs(like).max(initial=0.0))
    scaled: Array = array.astype(np.float64) * (128 / largest if largest > 0.0 else 1.0)
    return scaled
