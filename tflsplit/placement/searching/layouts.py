"""Ways to lay a tensor out over machines: groups of rows, and within each group parts of the channels or columns.

Shares follow the machines' speeds. One group is sharing by output channels, a machine in each group is sharing by rows,
and both together are a grid.
"""

import functools
import heapq
import itertools
import math
from collections.abc import Collection, Iterator, Sequence

from tflsplit.placement.machines import Machine
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box, Interval
from tflsplit.values.classes import dataclass

_ROWS, _COLUMNS = 1, 2
# Of numbers that floating point may leave a little below a whole one.
_ROUNDING = 1e-9
# Up to so many machines every number of them is tried; a search takes the square of what it chooses from.
_MANY = 12
# Of more, these, and from here on each that is twice the one before: they have divisors, by which they make grids.
_FEW, _DOUBLED = (2, 3, 4, 6, 8, 12), 16
# Up to so many uneven machines are put into groups in every way; there are twice as many with each machine more.
_GROUPED = 8

# A search asks for the parts of the same few shapes again and again.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """`groups` hold machines by their number; a machine in none has no part. What a group has is shared by channels, or
    by columns."""

    groups: tuple[tuple[int, ...], ...]
    by_columns: bool = False

    @property
    def machines(self) -> tuple[int, ...]:
        return tuple(machine for group in self.groups for machine in group)

    def may_precede(self, other: "Layout") -> bool:
        """Whether its machines are the other's, or all before these."""
        return max(self.machines) < min(other.machines) or set(self.machines) == set(other.machines)

    @property
    def is_one(self) -> bool:
        return len(self.machines) == 1

    def parts(self, shape: Sequence[int], machines: Sequence[Machine]) -> tuple[Box | None, ...]:
        """Each machine's part of a tensor, None for those without. A tensor without rows is laid out by its last
        dimension, or goes whole to the first machine where rows are what is shared."""
        return _parts(self, tuple(shape), tuple(machine.macs_per_s for machine in machines))


@functools.lru_cache(_REMEMBERED)
def _parts(layout: Layout, shape: tuple[int, ...], speeds: tuple[float, ...]) -> tuple[Box | None, ...]:
    found: list[Box | None] = [None] * len(speeds)
    whole = boxes.whole(shape)
    has_rows = len(shape) == 4 and shape[_ROWS] * shape[_COLUMNS] > 1
    if (not has_rows and (len(layout.groups) > 1 or layout.by_columns)) or not shape:
        found[layout.machines[0]] = whole
        return tuple(found)
    axis = _COLUMNS if layout.by_columns else len(shape) - 1
    across = [shares(shape[axis], [speeds[each] for each in group]) for group in layout.groups]
    rows = [(0, 0)]
    if has_rows:
        pairs = zip(layout.groups, across, strict=True)
        rows = shares(shape[_ROWS], [1 / _slowest_s(group, parts, speeds) for group, parts in pairs])
    for group, part, parts in zip(layout.groups, rows, across, strict=True):
        for machine, interval in zip(group, parts, strict=True):
            box = boxes.replaced(whole, axis, interval)
            box = boxes.replaced(box, _ROWS, part) if has_rows else box
            found[machine] = None if boxes.is_empty(box) else box
    return tuple(found)


def _slowest_s(group: Sequence[int], parts: Sequence[Interval], speeds: Sequence[float]) -> float:
    """What the slowest machine of a group takes, of a row, up to a factor."""
    return max((stop - start) / speeds[each] for each, (start, stop) in zip(group, parts, strict=True))


def shares(extent: int, weights: Sequence[float]) -> list[Interval]:
    """An extent in as many parts, of which the largest by its weight is as small as whole numbers allow; and each ends
    as near as that lets it to where it would in proportion, so that parts of layers of other sizes lie over it."""
    total = sum(weights)
    ideal = [extent * weight / total for weight in weights]
    counts = [math.floor(each + _ROUNDING) for each in ideal]
    nearest = [((count + 1) / weight, each) for each, (count, weight) in enumerate(zip(counts, weights, strict=True))]
    heapq.heapify(nearest)
    for _ in range(extent - sum(counts)):
        _, each = nearest[0]
        counts[each] += 1
        heapq.heapreplace(nearest, ((counts[each] + 1) / weights[each], each))
    largest = max(count / weight for count, weight in zip(counts, weights, strict=True)) * (1 + _ROUNDING)
    most = [math.floor(largest * weight + _ROUNDING) for weight in weights]
    edges, left = [0], sum(most)
    for end, room in zip(itertools.accumulate(ideal), most, strict=True):
        left -= room
        edges.append(max(extent - left, min(round(end), edges[-1] + room)))
    return list(itertools.pairwise(edges))


def in_turn(machines: Sequence[Machine]) -> Iterator[Layout]:
    """Each machine, and neighbours in twos, threes and so on, as grids of equal groups: stages of a pipeline."""
    count = len(machines)
    for size in range(1, count // 2 + 1):
        for first in range(0, count - size + 1, size):
            for groups in (each for each in range(1, size + 1) if size % each == 0):
                yield Layout(tuple(tuple(range(first + group, first + size, groups)) for group in range(groups)))


def every(
    machines: Sequence[Machine], always: Collection[int] = (), maps: Collection[tuple[int, int]] = ()
) -> Iterator[Layout]:
    """One machine alone, for each; and for each number of the fastest ones every grid of equal groups, and where they
    are uneven those of other groups that share one of the `maps` (rows, columns) best. Of many machines only the
    fastest ones and those that `always` matter are taken alone, and not every number of them."""
    order = sorted(range(len(machines)), key=lambda each: (-machines[each].macs_per_s, each))
    yield from (Layout(((machine,),)) for machine in sorted({*order[:_MANY], *always}))
    for count in _counts(len(order)):
        chosen = sorted(order[:count])
        for groups in _groupings(count):
            # Dealt out in turn, so that groups of uneven machines are about as fast as each other.
            dealt = tuple(tuple(chosen[group::groups]) for group in range(groups))
            yield Layout(dealt)
            if 1 < groups < count:
                yield Layout(dealt, by_columns=True)
        if count <= _GROUPED and len({machines[each].macs_per_s for each in chosen}) > 1:
            yield from _uneven(order[:count], machines, maps)


def _uneven(order: Sequence[int], machines: Sequence[Machine], maps: Collection[tuple[int, int]]) -> Iterator[Layout]:
    """Of groups of machines that follow one another in their order, the quickest for each map."""
    cuts = itertools.product((False, True), repeat=len(order) - 1)
    ways = [Layout(_parted(order, each), by_columns=True) for each in cuts if any(each)]
    chosen: dict[Layout, None] = {}
    for extents in maps:
        scored = [(_time_and_edges(way, extents, machines), place) for place, way in enumerate(ways)]
        chosen[ways[min(scored)[1]]] = None
    yield from (way for way in chosen if len(way.groups) < len(order))


def _parted(order: Sequence[int], cuts: Sequence[bool]) -> tuple[tuple[int, ...], ...]:
    edges = [0, *(place for place, is_cut in enumerate(cuts, 1) if is_cut), len(order)]
    return tuple(tuple(order[start:stop]) for start, stop in itertools.pairwise(edges))


def _time_and_edges(way: Layout, extents: tuple[int, int], machines: Sequence[Machine]) -> tuple[float, int]:
    """The slowest machine's time for a map, up to a factor, and how long the edges of all parts are."""
    found = way.parts((1, *extents, 1), machines)
    sides = [boxes.shape(box)[1:3] if box else (0, 0) for box in found]
    times = [rows * columns / machine.macs_per_s for (rows, columns), machine in zip(sides, machines, strict=True)]
    return round(max(times) * sum(each.macs_per_s for each in machines), 6), sum(map(sum, sides))


def _groupings(count: int) -> list[int]:
    """Numbers of equal groups; of many machines all in one, each in one, and the grid that is nearest to square."""
    divisors = [each for each in range(1, count + 1) if count % each == 0]
    if count <= _MANY:
        return divisors
    return sorted({1, min(divisors, key=lambda each: abs(each - count // each)), count})


def _counts(most: int) -> list[int]:
    """How many machines to share over: 2 and more."""
    if most <= _MANY:
        return list(range(2, most + 1))
    doubled = itertools.takewhile(lambda each: each < most, (_DOUBLED << times for times in itertools.count()))
    return [*_FEW, *doubled, most]
