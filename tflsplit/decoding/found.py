"""What was found in a picture: objects with boxes, shares of classes, keypoints. This module owns their JSON.

Places are fractions of the picture, from its left upper corner, as Frigate's API and Home Assistant have them: a box is
[x, y, width, height].
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass, field

_DIGITS = 6  # a tenth of a pixel of the largest picture that is read
_NAMES = ("objects", "shares", "keypoints")


@dataclass(frozen=True, slots=True)
class Keypoint:
    """`label` is "" and `score` None where the model has none of its own."""

    label: str
    x: float
    y: float
    score: float | None = None

    def __post_init__(self) -> None:
        _check_finite(self.label, self.x, self.y, self.score or 0.0)

    def as_json(self) -> dict[str, object]:
        named: dict[str, object] = {"label": self.label} if self.label else {}
        scored: dict[str, object] = {} if self.score is None else {"score": self.score}
        return {**named, **scored, "x": round(self.x, _DIGITS), "y": round(self.y, _DIGITS)}


@dataclass(frozen=True, slots=True)
class Object:
    """`box` is x, y, width and height."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    keypoints: tuple[Keypoint, ...] = ()

    def __post_init__(self) -> None:
        _check_finite(self.label, self.score, *self.box)

    def as_json(self) -> dict[str, object]:
        points = {"keypoints": [point.as_json() for point in self.keypoints]} if self.keypoints else {}
        box = [round(edge, _DIGITS) for edge in self.box]
        return {"label": self.label, "score": self.score, "box": box, **points}


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the picture a class takes, 0..1."""

    label: str
    share: float

    def __post_init__(self) -> None:
        _check_finite(self.label, self.share)

    def as_json(self) -> dict[str, object]:
        return {"label": self.label, "share": round(self.share, _DIGITS)}


@dataclass(frozen=True, slots=True)
class Found:
    """Best or largest first. None for what the model does not look for: without an object `objects` is empty.

    `mask` has the class of each pixel of the model's map, where it segments; it is no part of the JSON.
    """

    objects: tuple[Object, ...] | None = None
    shares: tuple[Share, ...] | None = None
    keypoints: tuple[Keypoint, ...] | None = None
    mask: "Array | None" = field(default=None, compare=False, repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """How many objects of each label there are, in the order of the best of each."""
        return dict(Counter(each.label for each in self.objects or ()))

    def as_json(self) -> dict[str, object]:
        kinds: dict[str, Sequence[Object | Share | Keypoint] | None] = {
            "objects": self.objects,
            "shares": self.shares,
            "keypoints": self.keypoints,
        }
        told: dict[str, object] = {
            name: [each.as_json() for each in found] for name, found in kinds.items() if found is not None
        }
        return told if self.objects is None else told | {"counts": self.counts}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Found | None":
        """Out of an object that may have other keys beside; None where it has none of ours. ValueError, KeyError or
        TypeError for what is no such JSON."""
        if fields.keys().isdisjoint(_NAMES):
            return None
        objects, shares, points = (_entries(fields, name) for name in _NAMES)
        if objects is shares is points is None:
            return None
        return cls(
            None if objects is None else tuple(map(_object, objects)),
            None if shares is None else tuple(map(_share, shares)),
            None if points is None else tuple(map(_keypoint, points)),
        )


def _entries(fields: Mapping[str, Any], name: str) -> list[Any] | None:
    found = fields.get(name)
    if found is not None and not isinstance(found, list):
        raise TypeError(f"{name} is no list")
    return found


def _object(fields: Mapping[str, Any]) -> Object:
    x, y, width, height = (_number(edge) for edge in fields["box"])
    points = tuple(_keypoint(point) for point in fields.get("keypoints") or ())
    return Object(_text(fields["label"]), _number(fields["score"]), (x, y, width, height), points)


def _share(fields: Mapping[str, Any]) -> Share:
    return Share(_text(fields["label"]), _number(fields["share"]))


def _keypoint(fields: Mapping[str, Any]) -> Keypoint:
    score = fields.get("score")
    label = _text(fields.get("label", ""))
    return Keypoint(label, _number(fields["x"]), _number(fields["y"]), None if score is None else _number(score))


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError(f"{found!r:.40} is no text")
    return found


def _number(found: object) -> float:
    if type(found) not in (int, float):  # exact: True is no number
        raise TypeError(f"{found!r:.40} is no number")
    return float(found)  # type: ignore[arg-type]  # checked


def _check_finite(label: str, *numbers: float) -> None:
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"numbers of {label!r} are {numbers}, expected finite ones")
