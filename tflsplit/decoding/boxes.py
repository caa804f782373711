"""Boxes as corners (x0, y0, x1, y1), a row each: sorted out where several stand for one object."""

import numpy as np

from tflsplit.graph.tensors import Array

MOST = 100  # objects in one picture; Ultralytics has 300, TFLite's post-processing mostly 10 to 100
_MOST_CANDIDATES = 1000  # by score; each is compared with those that are kept


def of_centres(rows: Array) -> Array:
    """Corners of (centre x, centre y, width, height)."""
    centres, halves = rows[:, :2], rows[:, 2:4] / 2
    return np.concatenate((centres - halves, centres + halves), axis=1)


def best(corners: Array, scores: Array, classes: Array, min_score: float, max_overlap: float) -> Array:
    """Indices of the boxes that are kept, best first: none overlaps a better one of its class by more than that share
    of their union. Of equal scores the first one counts."""
    order = np.flatnonzero(scores >= min_score)
    order = order[np.argsort(-scores[order], kind="stable")][:_MOST_CANDIDATES]
    kept: list[int] = []
    while order.size and len(kept) < MOST:
        first, others = order[0], order[1:]
        kept.append(int(first))
        is_same = (classes[others] == classes[first]) & (_overlaps(corners[first], corners[others]) > max_overlap)
        order = others[~is_same]
    return np.asarray(kept, np.int64)


def _overlaps(one: Array, others: Array) -> Array:
    """Intersection over union."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = np.prod(np.maximum(sides, 0.0), axis=1)
    union = np.prod(one[2:] - one[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1) - shared
    found: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found
