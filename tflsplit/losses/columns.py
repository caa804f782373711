"""Columns of one tensor that differ in size, so that one scale cannot serve them: boxes beside scores.

A scale made for boxes of 0 to 640 rounds every score to 0, and the figure of the whole tensor is still fine. Where the
end of a model mixes such columns, each group has a figure of its own.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import Array, decibels
from tflsplit.values.classes import dataclass, field

# What converters put between the operator that mixes and the output.
_ARRANGING = frozenset(
    {
        "RESHAPE",
        "TRANSPOSE",
        "SQUEEZE",
        "EXPAND_DIMS",
        "QUANTIZE",
        "DEQUANTIZE",
        "CONCATENATION",
        "PACK",
        "STRIDED_SLICE",
    }
)
_APART_BITS = 5.0  # of int8's eight: what is 32 times smaller has three left
_HIDDEN_DB = 10.0  # more than this below the whole tensor's figure is loss that the figure hides
FINE_DB = 20.0  # what a tensor of int8 with a scale of its own keeps at least; nothing is lost above it
_MOST_RUNS = 6  # boxes, scores and boxes again are three; more is no order that somebody chose
_MOST_COLUMNS = 4096


@dataclass(frozen=True, slots=True)
class Group:
    """Columns along `axis`, as pairs of first and last; `largest` is their largest float value, without its sign."""

    axis: int
    ranges: tuple[tuple[int, int], ...]
    largest: float
    sqnr_db: float

    def __str__(self) -> str:
        told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)
        return f"columns {told} of axis {self.axis} (up to {self.largest:.3g}): {self.sqnr_db:.1f} dB"

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Group":
        return cls(**dict(fields) | {"ranges": tuple((int(first), int(last)) for first, last in fields["ranges"])})


@dataclass(slots=True)
class _Axis:
    error: Array
    power: Array
    total: Array
    peak: Array
    count: int = 0


@dataclass(slots=True)
class Tallies:
    """The same sums as of a whole tensor, of each column along each of its axes."""

    axes: dict[int, _Axis] = field(default_factory=dict)

    def add(self, expected: Array, found: Array) -> None:
        for axis, extent in enumerate(expected.shape):
            if not 2 <= extent <= _MOST_COLUMNS:
                continue
            others = tuple(place for place in range(expected.ndim) if place != axis)
            sums = self.axes.setdefault(axis, _Axis(*np.zeros((4, extent))))
            sums.error += np.square(expected - found).sum(others)
            sums.power += np.square(expected).sum(others)
            sums.total += expected.sum(others)
            sums.peak = np.maximum(sums.peak, np.abs(expected).max(others))
            sums.count += expected.size // extent


def at_the_end(graph: Graph) -> list[int]:
    """The operators that make the outputs, and those before them that only arrange; in the model's order.

    Not a softmax: shares of classes are made for one scale, and a class that is hardly ever there loses nothing by it.
    """
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    found: set[int] = set()
    pending = list(graph.outputs)
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and maker.index not in found and maker.name != "SOFTMAX":
            found.add(maker.index)
            pending += [index for index in maker.inputs if index >= 0] if maker.name in _ARRANGING else []
    return sorted(found)


def hidden(tallies: Tallies, whole_db: float | None) -> tuple[Group, ...]:
    """The groups of the axis that shows most of what the whole tensor's figure hides; none where it hides nothing."""
    if whole_db is None:
        return ()
    most = min(FINE_DB, whole_db - _HIDDEN_DB)
    found = (tuple(_groups(axis, sums)) for axis, sums in tallies.axes.items())
    least = {groups: min(group.sqnr_db for group in groups) for groups in found if groups}
    hiding = [groups for groups, figure in least.items() if figure < most]
    return min(hiding, key=lambda groups: least[groups], default=())


def _groups(axis: int, sums: _Axis) -> Iterator[Group]:
    """Large columns and small ones, if there is a clear line between them."""
    is_large = _split(sums.peak)
    if is_large is None:
        return
    for chosen in (is_large, ~is_large):
        error, power, total = (float(each[chosen].sum()) for each in (sums.error, sums.power, sums.total))
        varying = power - total**2 / (sums.count * int(chosen.sum()))
        if varying > 1e-12 * power:
            sqnr_db = round(max(-300.0, min(300.0, decibels(varying, error))), 2)
            yield Group(axis, _ranges(chosen), float(sums.peak[chosen].max()), sqnr_db)


def _split(peaks: Array) -> "Array | None":
    """Which columns are the large ones: Otsu's threshold (1979) on the logarithms, which are to lie far apart."""
    there = peaks > 0
    if there.sum() < 2:
        return None
    bits = np.log2(np.where(there, peaks, peaks[there].min()))
    ordered = np.sort(bits)
    places = np.arange(1, len(ordered))
    before, behind = np.cumsum(ordered)[:-1] / places, (ordered.sum() - np.cumsum(ordered)[:-1]) / places[::-1]
    best = int(np.argmax(places * places[::-1] * np.square(behind - before)))
    is_large: Array = bits > (ordered[best] + ordered[best + 1]) / 2
    is_far = behind[best] - before[best] >= _APART_BITS and ordered[best + 1] - ordered[best] >= 1.0
    return is_large if is_far and np.count_nonzero(np.diff(is_large)) < _MOST_RUNS else None


def _ranges(chosen: Array) -> tuple[tuple[int, int], ...]:
    steps = np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]]))
    return tuple(zip((np.flatnonzero(steps == 1)).tolist(), (np.flatnonzero(steps == -1) - 1).tolist(), strict=True))
