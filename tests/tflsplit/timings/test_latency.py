import pytest

from tflsplit.timings import latency


def test_the_last_are_kept_and_all_are_counted():
    found = latency.Latencies()
    for number in range(latency.KEPT + 5):
        found.append(number / 1000)

    assert len(found) == latency.KEPT
    assert found[0] == 0.005
    assert sum(found.counts) == latency.KEPT + 5
    assert found.sum_s == pytest.approx(sum(number / 1000 for number in range(latency.KEPT + 5)))


def test_a_latency_counts_at_the_first_bound_that_it_does_not_exceed():
    found = latency.Latencies()
    for seconds in (0.0, latency.BOUNDS_S[0], 0.0006, latency.BOUNDS_S[-1], 11.0):
        found.append(seconds)

    assert found.counts[:2] == [2, 1]
    assert found.counts[-2:] == [1, 1]
