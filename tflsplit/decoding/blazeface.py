"""MediaPipe's detectors with anchors in two grids (faces, palms): a box and keypoints beside each anchor.

An anchor is the middle of a cell, and there are 2 in each cell of the finer grid and 6 in each of the coarser, whose
cells are twice as large. Values are pixels of the model's picture, relative to the anchor.
"""

from collections.abc import Sequence

import numpy as np

from tflsplit.decoding import boxes
from tflsplit.decoding.forms import Decoding
from tflsplit.graph.tensors import Array

LABEL = "face"  # of a model without labels
_STRIDES = (8, 16)  # of the finer grid
_IN_FINE, _IN_COARSE = 2, 6
_CLIP = 100.0  # MediaPipe's own, before the sigmoid


def anchors(size: tuple[int, int], count: int) -> "Array | None":
    """Their places (x, y) as fractions of a picture of `size` = (height, width); None where there are not `count`."""
    for stride in _STRIDES:
        made = np.concatenate([_grid(size, stride, _IN_FINE), _grid(size, 2 * stride, _IN_COARSE)])
        if len(made) == count:
            return made
    return None


def decoded(parts: Sequence[Array], decoding: Decoding, size: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Corners as fractions, scores, and keypoints (x, y), a row for each object."""
    logits, values = parts[0].reshape(-1), parts[1].reshape(parts[1].shape[-2:])
    places = anchors(size, len(logits))
    if places is None:
        raise ValueError(f"{len(logits)} anchors are none of a picture of {size}")
    scores = 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -_CLIP, _CLIP)))
    pairs = values.reshape(len(values), -1, 2) / np.asarray(size[::-1], np.float64)
    centres, sides, points = pairs[:, 0] + places, pairs[:, 1], pairs[:, 2:] + places[:, None]
    corners = boxes.of_centres(np.concatenate((centres, sides), axis=1))
    classes = np.zeros(len(scores), np.int64)
    kept = boxes.best(corners, scores, classes, decoding.min_score, decoding.max_overlap)
    return corners[kept], scores[kept], points[kept]


def _grid(size: tuple[int, int], stride: int, each: int) -> Array:
    rows, columns = -(-size[0] // stride), -(-size[1] // stride)
    y, x = np.mgrid[:rows, :columns]
    middles = np.stack(((x.reshape(-1) + 0.5) / columns, (y.reshape(-1) + 0.5) / rows), axis=1)
    return np.repeat(middles, each, axis=0)
