"""Levels that stand for a tensor's stored integers where these travel in fewer bits: the ones with the least error.

A stored byte has 256 values, so the best choice of 2^bits of them for given samples can be computed exactly, by dynamic
programming over the borders between levels (one-dimensional k-means; Lloyd's algorithm may end in a worse choice). At
4 bits that is 3 to 6 dB better than equal steps over the same range where features are mostly small, as behind a ReLU.
"""

from collections.abc import Iterable

import numpy as np

from tflsplit.graph.tensors import Array, TensorSpec

# Of how many bits features may travel in. 5 and 1 are left out: a step of one bit is some 6 dB, which these cover.
BITS = (6, 4, 3, 2)
_VALUES = 256


def can_be_coded(spec: TensorSpec) -> bool:
    """Whether a tensor's bytes may be replaced by near ones: quantised, of 8 bits. Others travel as they are stored."""
    return spec.is_quantised and spec.dtype in ("int8", "uint8")


def histogram(arrays: Iterable[Array]) -> Array:
    """How often each stored byte occurs, the least value of the data type first."""
    counts: Array = np.zeros(_VALUES, np.int64)
    for array in arrays:
        least = np.iinfo(array.dtype).min
        counts += np.bincount(array.reshape(-1).astype(np.int16) - least, minlength=_VALUES)
    return counts


def best(counts: Array, bits: int) -> tuple[int, ...]:
    """At most 2^bits stored values in ascending order, counted from the least one of the data type, with the least sum
    of squared errors over a histogram."""
    errors, centres = _costs(counts.astype(np.float64))
    # Of the first `end` values in so many levels: the least error, and where the last of these levels begins.
    least, begins = errors[0], []
    for _ in range(1, min(1 << bits, int(np.count_nonzero(counts)) or 1)):
        summed = least[:, np.newaxis] + errors
        begins.append(summed.argmin(0))
        least = summed.min(0)
    found, end = [], _VALUES
    for begin in reversed(begins):
        found.append(int(centres[begin[end], end]))
        end = int(begin[end])
    found.append(int(centres[0, end]))
    return tuple(sorted(set(found)))


def nearest(levels: tuple[int, ...]) -> Array:
    """For each of the 256 stored values, the place of the level nearest to it; of two equally near ones the lower."""
    distances = np.abs(np.arange(_VALUES)[:, np.newaxis] - np.asarray(levels)[np.newaxis])
    places: Array = distances.argmin(1).astype(np.uint8)
    return places


def _costs(counts: Array) -> tuple[Array, Array]:
    """Of each range of values [begin, end): the squared error of its best integer level, and that level."""
    values = np.arange(_VALUES, dtype=np.float64)
    weight, first, second = (np.concatenate(([0.0], np.cumsum(counts * values**power))) for power in range(3))
    count, total, squares = (each[np.newaxis] - each[:, np.newaxis] for each in (weight, first, second))
    centres = np.rint(total / np.where(count > 0, count, 1.0))
    costs = np.where(count > 0, squares - 2 * centres * total + centres**2 * count, 0.0)
    places = np.arange(_VALUES + 1)
    costs[places[:, np.newaxis] > places[np.newaxis]] = np.inf
    return costs, centres
