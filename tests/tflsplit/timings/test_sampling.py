"""When a timing has been repeated enough, on invented numbers."""

import numpy as np
import pytest

from tflsplit.timings import sampling


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ((5.0,), False),
        ((5.0, 5.0), False),
        ((5.0, 5.0, 5.0), True),
        ((9.0, 6.0, 4.0), False),
        ((9.0, 6.0, 4.0, 4.0), False),
        ((9.0, 6.0, 4.0, 4.0, 4.0), True),
        ((5.0, 9.0, 9.0), True),
    ],
)
def test_warm_means_that_two_runs_brought_nothing_faster(samples, expected):
    assert sampling.is_warm(samples) is expected


def test_the_median_lies_between_order_statistics_of_the_binomial_ranks():
    low, high = sampling.median_interval(range(100))

    # 50 ± 1.96 · 10 / 2 ranks.
    assert (low, high) == (40, 60)


def test_few_samples_give_their_whole_range():
    assert sampling.median_interval((3.0, 1.0, 2.0)) == (1.0, 3.0)


def test_the_interval_holds_the_true_median_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        low, high = sampling.median_interval(random.exponential(size=31))
        held += low <= np.log(2) <= high

    assert held >= 930


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ((1.0,) * 5, False),
        ((1.0,) * 6, True),
        ((0.0,) * 6, True),
        ((1.0, 1.1) * 10, False),
        ((1.0, 1.01) * 10, True),
        ((1.0,) * 50 + (9.0,), True),
    ],
)
def test_narrow_is_within_the_share_on_either_side_of_the_median(samples, expected):
    assert sampling.is_narrow(samples, 0.02) is expected
