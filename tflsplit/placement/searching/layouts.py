"""Ways to lay a tensor out over machines: groups of rows, and within each group parts of the channels.

Shares follow the machines' speeds. One group is sharing by output channels, a machine in each group is sharing by rows,
and both together are a grid.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tflsplit.placement.machines import Machine
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box, Interval

_ROWS = 1
# Up to so many machines every number of them is tried; a search takes the square of what it chooses from.
_MANY = 12
# Of more, numbers that are at most a sixth apart and have divisors, by which they make grids.
_STEPS = (12, 14, 16, 18, 20, 24)


@dataclass(frozen=True, slots=True)
class Layout:
    """`groups` hold machines by their number; a machine in none has no part."""

    groups: tuple[tuple[int, ...], ...]

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
        found: list[Box | None] = [None] * len(machines)
        whole = boxes.whole(shape)
        has_rows = len(shape) == 4 and shape[_ROWS] * shape[_ROWS + 1] > 1
        if (not has_rows and len(self.groups) > 1) or not shape:
            found[self.machines[0]] = whole
            return tuple(found)
        speeds = [sum(machines[each].macs_per_s for each in group) for group in self.groups]
        rows = shares(shape[_ROWS], speeds) if has_rows else [(0, 0)]
        for group, part in zip(self.groups, rows, strict=True):
            channels = shares(shape[-1], [machines[each].macs_per_s for each in group])
            for machine, interval in zip(group, channels, strict=True):
                box = boxes.replaced(whole, len(shape) - 1, interval)
                box = boxes.replaced(box, _ROWS, part) if has_rows else box
                found[machine] = None if boxes.is_empty(box) else box
        return tuple(found)


def shares(extent: int, weights: Sequence[float]) -> list[Interval]:
    """An extent in as many parts, in proportion to the weights."""
    total, edges, before = sum(weights), [0], 0.0
    for weight in weights:
        before += weight
        edges.append(round(extent * before / total))
    return list(itertools.pairwise(edges))


def in_turn(machines: Sequence[Machine]) -> Iterator[Layout]:
    """Each machine, and neighbours in twos, threes and so on, as grids of equal groups: stages of a pipeline."""
    count = len(machines)
    for size in range(1, count // 2 + 1):
        for first in range(0, count - size + 1, size):
            for groups in (each for each in range(1, size + 1) if size % each == 0):
                yield Layout(tuple(tuple(range(first + group, first + size, groups)) for group in range(groups)))


def every(machines: Sequence[Machine], always: Collection[int] = ()) -> Iterator[Layout]:
    """One machine alone, for each; and for each number of the fastest ones every grid of equal groups. Of many machines
    only the fastest ones and those that `always` matter are taken alone, and not every number of them."""
    order = sorted(range(len(machines)), key=lambda each: (-machines[each].macs_per_s, each))
    yield from (Layout(((machine,),)) for machine in sorted({*order[:_MANY], *always}))
    for count in _counts(len(order)):
        chosen = sorted(order[:count])
        for groups in range(1, count + 1):
            if count % groups == 0:
                # Dealt out in turn, so that groups of uneven machines are about as fast as each other.
                yield Layout(tuple(tuple(chosen[group::groups]) for group in range(groups)))


def _counts(most: int) -> list[int]:
    """How many machines to share over: 2 and more."""
    doubled = (step << times for times in range(most.bit_length()) for step in _STEPS)
    return sorted({*range(2, min(most, _MANY) + 1), *(each for each in doubled if each <= most), most} - {0, 1})
