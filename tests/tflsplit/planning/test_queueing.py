import math

import pytest

from tflsplit.planning import queueing
from tflsplit.timings import distribution
from tflsplit.timings.distribution import Distribution
from tflsplit.timings.profiles import Origin, Timing


def service(mean_s, variance_s2=0.0):
    return Distribution(mean_s, mean_s, mean_s, variance_s2, Origin.MEASURED)


def test_one_worker_and_random_arrivals_are_pollaczek_and_khinchine():
    # rate · E[S²] / 2(1 - rho), with E[S²] = variance + mean².
    found = queueing.wait(5.0, service(0.1, 0.03), arrivals=queueing.POISSON)

    assert found.mean_s == pytest.approx(5.0 * (0.03 + 0.01) / (2 * 0.5))


def test_exponential_service_waits_as_m_m_1_does_to_the_percentile():
    found = queueing.wait(8.0, service(0.1, 0.01), arrivals=queueing.POISSON)

    assert found.mean_s == pytest.approx(0.8 * 0.1 / 0.2)
    # P(wait > t) = rho · exp(-t (1 - rho) / service)
    assert 0.8 * math.exp(-found.p95_s * 0.2 / 0.1) == pytest.approx(0.05)
    assert 0.8 * math.exp(-found.p50_s * 0.2 / 0.1) == pytest.approx(0.50)


def test_paced_frames_that_all_take_as_long_never_wait():
    assert queueing.wait(9.9, service(0.1), arrivals=queueing.PACED).p95_s == 0.0


def test_frames_faster_than_they_are_served_wait_for_ever():
    assert queueing.wait(10.0, service(0.1), arrivals=queueing.POISSON) is distribution.NEVER


def test_several_workers_wait_less_than_one_of_the_same_load():
    one = queueing.wait(5.0, service(0.1, 0.01), arrivals=queueing.POISSON)
    four = queueing.wait(20.0, service(0.1, 0.01), arrivals=queueing.POISSON, workers=4)

    # M/M/4 at load 1/2: all four are busy for 4/23 of the frames.
    assert four.mean_s == pytest.approx(4 / 23 * 0.1 / (4 * 0.5))
    assert one.mean_s == pytest.approx(0.1)


def test_percentiles_are_numpys():
    timing = Timing(tuple(number / 1000 for number in (5, 1, 4, 2, 3, 9)))
    found = distribution.of(timing)

    assert (found.p50_s, found.p95_s, found.mean_s) == pytest.approx((timing.p50_s, timing.p95_s, timing.mean_s))


def test_spreads_add_up_as_independent_ones_do():
    left = Distribution(1.0, 4.0, 1.1, 2.0, Origin.MEASURED)
    right = Distribution(2.0, 6.0, 2.2, 3.0, Origin.STATED)

    assert distribution.total((left, right)) == Distribution(3.0, 8.0, pytest.approx(3.3), 5.0, Origin.STATED)


def test_a_sum_with_something_endless_is_endless():
    assert distribution.total((service(1.0), distribution.NEVER)) is distribution.NEVER
