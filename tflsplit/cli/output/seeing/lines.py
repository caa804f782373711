"""Answers in one line: labels with scores, what was found, or plain values."""

from collections import Counter
from collections.abc import Sequence

from tflsplit import text
from tflsplit.decoding.found import Found, Keypoint, Object

_MOST = 5  # labels, shares or values in a line
_LONGEST = 40  # of a label
Values = Sequence[tuple[str, Sequence[float]]]


def line(top: Sequence[tuple[str, float]], values: Values, found: Found | None = None) -> str:
    """An answer in a few words."""
    if found is not None:
        return _found(found)
    if top:
        return "; ".join(f"{_short(label)} {score:.2f}" for label, score in top)
    if values:
        return "; ".join(_values(name, numbers) for name, numbers in values)
    return "no label holds"


def details(found: Found | None) -> list[str]:
    """Each object and each keypoint in a line of its own: places are fractions of the picture."""
    if found is None:
        return []
    return [*map(_object, found.objects or ()), *map(_keypoint, found.keypoints or ())]


def _found(found: Found) -> str:
    if found.objects is not None:
        best: dict[str, float] = {}
        for each in found.objects:
            best.setdefault(each.label, each.score)
        counts = Counter(each.label for each in found.objects)
        told = [
            f"{counts[label]} {_short(label)} {score:.2f}" if counts[label] > 1 else f"{_short(label)} {score:.2f}"
            for label, score in best.items()
        ]
        return _first(told) or "nothing found"
    if found.shares is not None:
        return _first([f"{_short(each.label)} {each.share:.1%}" for each in found.shares])
    points = found.keypoints or ()
    best_point = max(points, key=lambda point: point.score or 0.0, default=None)
    least = f", best {_short(best_point.label)} {best_point.score or 0.0:.2f}" if best_point is not None else ""
    return f"{text.counted(len(points), 'keypoint')}{least}"


def _object(each: Object) -> str:
    x, y, width, height = each.box
    return f"{_short(each.label)} {each.score:.2f} at x {x:.3f} y {y:.3f}, {width:.3f} x {height:.3f}"


def _keypoint(point: Keypoint) -> str:
    score = "" if point.score is None else f" {point.score:.2f}"
    return f"{_short(point.label)}{score} at x {point.x:.3f} y {point.y:.3f}"


def _values(name: str, numbers: Sequence[float]) -> str:
    shown = ", ".join(f"{number:.4g}" for number in numbers[:_MOST])
    return f"{_short(name)} {shown}{' …' if len(numbers) > _MOST else ''}"


def _first(told: Sequence[str]) -> str:
    more = f" and {len(told) - _MOST} more" if len(told) > _MOST else ""
    return "; ".join(told[:_MOST]) + more


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
