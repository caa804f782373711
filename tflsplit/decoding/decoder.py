"""From the real values of a model's outputs to what was found in the source's picture. Pure."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tflsplit.decoding import blazeface, detections, maps
from tflsplit.decoding.forms import Decoding, Form
from tflsplit.decoding.found import Found, Keypoint, Object, Share
from tflsplit.graph.tensors import Array
from tflsplit.inputs.resizing import WHOLE, Placement

_MOST_SHARES = 64
# What the keypoints of a person are called, in the order of COCO; nearly every model of 17 has it.
_PERSON = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    *("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist"),
    *("left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
)


def decode(
    decoding: Decoding,
    outputs: Sequence[Array],
    size: tuple[int, int],
    labels: Sequence[str] = (),
    placement: Placement = WHOLE,
) -> Found:
    """`outputs` are real values, all of the model's; `size` is height and width of its picture, and `placement` how the
    source's picture stands in that."""
    parts = [outputs[place] for place in decoding.places]
    if decoding.form in (Form.CLASSES, Form.SCORES):
        mask = maps.of_source(maps.classes(parts[0], decoding), placement)
        found = maps.shares(mask)[:_MOST_SHARES]
        return Found(shares=tuple(Share(_label(labels, number), share) for number, share in found), mask=mask)
    if decoding.form is Form.HEATMAPS:
        return Found(keypoints=_keypoints(maps.peaks(parts[0]), labels, placement))
    if decoding.form is Form.POINTS:
        return Found(keypoints=_keypoints(parts[0].reshape(-1, 3)[:, [1, 0, 2]], labels, placement))
    if decoding.form is Form.BLAZEFACE:
        corners, scores, points = blazeface.decoded(parts, decoding, size)
        rows = zip(corners.tolist(), scores.tolist(), points.tolist(), strict=True)
        label = labels[0] if labels else blazeface.LABEL
        return Found(tuple(_object(label, score, corner, placement, around) for corner, score, around in rows))
    if decoding.form is Form.YOLOV8_POSE:
        corners, scores, points = detections.of_poses(parts[0], decoding, size)
        people = zip(corners.tolist(), scores.tolist(), points, strict=True)
        label = labels[0] if labels else detections.PERSON
        return Found(tuple(_posed(label, score, corner, placement, around) for corner, score, around in people))
    read = detections.of_ssd(parts, decoding) if decoding.form is Form.SSD else None
    corners, scores, classes = read or detections.of_yolo(parts, decoding, size)
    boxes = zip(corners.tolist(), scores.tolist(), classes.tolist(), strict=True)
    return Found(tuple(_object(_label(labels, number), score, corner, placement) for corner, score, number in boxes))


def _posed(label: str, score: float, corners: Sequence[float], placement: Placement, points: Array) -> Object:
    return dataclasses.replace(_object(label, score, corners, placement), keypoints=_keypoints(points, (), placement))


def _object(
    label: str,
    score: float,
    corners: Sequence[float],
    placement: Placement,
    points: Sequence[Sequence[float]] = (),
) -> Object:
    """Cut off at the picture's edges."""
    (left, top), (right, bottom) = placement.to_source(*corners[:2]), placement.to_source(*corners[2:])
    left, top, right, bottom = (float(np.clip(edge, 0.0, 1.0)) for edge in (left, top, right, bottom))
    around = tuple(Keypoint("", *placement.to_source(x, y)) for x, y in points)
    return Object(label, float(score), (left, top, right - left, bottom - top), around)


def _keypoints(rows: Array, labels: Sequence[str], placement: Placement) -> tuple[Keypoint, ...]:
    names = labels or (_PERSON if len(rows) == len(_PERSON) else ())
    found = []
    for number, (x, y, score) in enumerate(rows.astype(np.float64).tolist()):
        found.append(Keypoint(_label(names, number), *placement.to_source(x, y), score))
    return tuple(found)


def _label(labels: Sequence[str], index: int) -> str:
    return labels[index] if 0 <= index < len(labels) else str(index)
