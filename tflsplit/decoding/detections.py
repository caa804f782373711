"""Boxes with classes, out of SSD post-processing and YOLO heads: corners as fractions, scores, classes."""

from collections.abc import Sequence

import numpy as np

from tflsplit.decoding import boxes
from tflsplit.decoding.forms import Decoding, Form
from tflsplit.graph.tensors import Array

Rows = tuple[Array, Array, Array]
PERSON = "person"  # of a pose without labels


def of_ssd(parts: Sequence[Array], decoding: Decoding) -> Rows:
    """Boxes come as (top, left, bottom, right), sorted out by the model; those behind the count are left over."""
    corners, classes, scores, count = (part.reshape(-1) for part in parts)
    rows = min(max(int(count[0]), 0), len(scores))
    scores, classes = scores[:rows], np.rint(classes[:rows]).astype(np.int64)
    kept = np.flatnonzero(scores >= decoding.min_score)
    kept = kept[np.argsort(-scores[kept], kind="stable")][: boxes.MOST]
    return corners.reshape(-1, 4)[:rows][:, [1, 0, 3, 2]][kept], scores[kept], classes[kept]


def of_yolo(parts: Sequence[Array], decoding: Decoding, size: tuple[int, int]) -> Rows:
    """`size` is height and width of the model's picture. Each box has the class of its best score."""
    rows = _rows(parts[0])
    if decoding.form is Form.YOLOV5:
        scores = rows[:, 5:] * rows[:, 4:5] if rows.shape[1] > 5 else rows[:, 4:5]
    else:
        scores = rows[:, 4:]
    classes = np.argmax(scores, axis=1)
    best = scores[np.arange(len(scores)), classes]
    corners = boxes.of_centres(rows)
    if decoding.in_pixels:
        corners = corners / np.asarray([size[1], size[0]] * 2, corners.dtype)
    kept = boxes.best(corners, best, classes, decoding.min_score, decoding.max_overlap)
    return corners[kept], best[kept], classes[kept]


def of_poses(part: Array, decoding: Decoding, size: tuple[int, int]) -> Rows:
    """Corners, scores, and keypoints (x, y, score): a row for each person."""
    rows = _rows(part)
    corners, scores, points = boxes.of_centres(rows), rows[:, 4], rows[:, 5:].reshape(len(rows), -1, 3)
    if decoding.in_pixels:
        corners = corners / np.asarray([size[1], size[0]] * 2, corners.dtype)
        points = points / np.asarray([size[1], size[0], 1], points.dtype)
    everyone = np.zeros(len(rows), np.int64)
    kept = boxes.best(corners, scores, everyone, decoding.min_score, decoding.max_overlap)
    return corners[kept], scores[kept], points[kept]


def _rows(part: Array) -> Array:
    """A row for each box: there are always more boxes than numbers of each."""
    rows: Array = part.reshape(part.shape[-2:])
    return rows.T if rows.shape[0] < rows.shape[1] else rows
