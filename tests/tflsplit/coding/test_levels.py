"""Levels for stored values: the best ones there are."""

import itertools

import numpy as np
import pytest

from tflsplit.coding import levels
from tflsplit.graph.tensors import TensorSpec


def squared_error(counts, found):
    values = np.arange(256)
    distances = np.abs(values[:, None] - np.asarray(found)[None]).min(1)
    return float(np.sum(counts * distances**2.0))


def test_no_other_choice_of_levels_has_a_smaller_error():
    counts = np.zeros(256, int)
    counts[[3, 4, 9, 30, 31, 32, 60, 200, 201, 255]] = [9, 5, 1, 7, 7, 7, 2, 4, 4, 1]

    found = levels.best(counts, 2)

    tried = (3, 4, 9, 20, 21, 30, 31, 32, 60, 120, 200, 201, 210, 211, 255)
    least = min(squared_error(counts, four) for four in itertools.combinations(tried, 4))
    assert len(found) == 4
    assert squared_error(counts, found) <= least


@pytest.mark.parametrize("bits", levels.BITS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_levels_of_features_lose_less_than_equal_steps_over_their_range(bits, dtype):
    least = np.iinfo(dtype).min
    relu = np.clip(np.random.default_rng(0).laplace(0, 20, 20_000), 0, 255).astype(int)
    counts = levels.histogram([(relu + least).astype(dtype)])

    found = levels.best(counts, bits)

    assert counts.sum() == relu.size
    assert len(found) == 1 << bits
    steps = np.linspace(0, relu.max(), 1 << bits).round()
    assert squared_error(counts, found) < 0.7 * squared_error(counts, steps)


def test_as_many_values_as_levels_lose_nothing():
    counts = np.zeros(256, int)
    counts[[0, 7, 255]] = [5, 1, 1]

    assert levels.best(counts, 2) == (0, 7, 255)
    assert levels.best(np.zeros(256, int), 2)  # no sample reached that tensor


def test_only_quantised_bytes_can_be_replaced_by_near_ones():
    can = [levels.can_be_coded(TensorSpec("", (4,), dtype, 0.1, 0)) for dtype in ("int8", "uint8", "int16", "int32")]

    assert can == [True, True, False, False]
    assert not levels.can_be_coded(TensorSpec("", (4,), "int8"))  # numbers of classes, say
