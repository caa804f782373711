"""Parts of tensors: a box is a half-open interval of indices for each dimension.

A search calls these some million times, so they are plain loops.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

Interval: TypeAlias = tuple[int, int]
Box: TypeAlias = tuple[Interval, ...]


def whole(shape: Sequence[int]) -> Box:
    return tuple((0, extent) for extent in shape)


def shape(box: Box) -> tuple[int, ...]:
    return tuple(stop - start for start, stop in box)


def volume(box: Box) -> int:
    """Elements in it; 0 for an empty one."""
    elements = 1
    for start, stop in box:
        if stop <= start:
            return 0
        elements *= stop - start
    return elements


def is_empty(box: Box) -> bool:
    for start, stop in box:  # noqa: SIM110 - a generator takes three times as long
        if stop <= start:
            return True
    return False


def hull(boxes: Iterable[Box]) -> Box:
    """The smallest box around all of them; there is one at least, and none is empty."""
    found = list(boxes)
    return tuple((min(start for start, _ in axis), max(stop for _, stop in axis)) for axis in zip(*found, strict=True))


def common(one: Box, other: Box) -> Box:
    """What both hold; perhaps empty."""
    return tuple([(a if a > c else c, b if b < d else d) for (a, b), (c, d) in zip(one, other, strict=True)])


def holds(outer: Box, inner: Box) -> bool:
    return all(a <= c and d <= b for (a, b), (c, d) in zip(outer, inner, strict=True))


def minus(box: Box, held: Iterable[Box]) -> list[Box]:
    """What of the box none of `held` has, as boxes that do not overlap."""
    left = [] if is_empty(box) else [box]
    for other in held:
        left = [piece for part in left for piece in _without(part, other)]
    return left


def within(box: Box, outer: Box) -> Box:
    """The same part, with indices that count from where `outer` begins."""
    return tuple((start - first, stop - first) for (start, stop), (first, _) in zip(box, outer, strict=True))


def slices(box: Box) -> tuple[slice, ...]:
    """To index an array by."""
    return tuple(slice(start, stop) for start, stop in box)


def replaced(box: Box, axis: int, interval: Interval) -> Box:
    return (*box[:axis], interval, *box[axis + 1 :])


def _without(box: Box, other: Box) -> list[Box]:
    shared = common(box, other)
    if is_empty(shared):
        return [box]
    pieces, rest = [], box
    for axis, ((start, stop), (first, last)) in enumerate(zip(box, shared, strict=True)):
        pieces += [replaced(rest, axis, each) for each in ((start, first), (last, stop)) if each[0] < each[1]]
        rest = replaced(rest, axis, (first, last))
    return pieces
