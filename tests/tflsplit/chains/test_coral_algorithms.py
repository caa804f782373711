"""Coral's two algorithms, and why ours differs: exact answers on invented numbers."""

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflsplit.chains import chain as chains
from tflsplit.chains import coral_algorithms, explanation, partitioner
from tflsplit.chains.chain import Cache, Chain, Hop, Stage

MB = 1e6


def three_tpus(times_ms, megabytes, cache=chains.EDGE_TPU):
    compute_s = tuple(time / 1e3 for time in itertools.accumulate(times_ms, initial=0))
    weights = tuple(size * MB for size in itertools.accumulate(megabytes, initial=0))
    places = tuple(f"p{number}" for number in range(len(weights)))
    stages = tuple(Stage(f"tpu{number}", compute_s, cache=cache) for number in range(3))
    hops = {(0, 1): Hop(0.0, 1e12), (1, 2): Hop(0.0, 1e12)}
    return Chain(places, (1.0,) * len(places), weights, stages, hops)


def test_by_parameter_count_closes_a_piece_before_it_exceeds_its_share():
    found = coral_algorithms.by_parameter_count(three_tpus([1] * 6, [1, 1, 1, 1, 1, 1]))

    assert found.cuts == (2, 4)


def test_by_parameter_count_gives_the_rest_to_the_last_piece():
    found = coral_algorithms.by_parameter_count(three_tpus([1] * 4, [2, 3, 3, 4]))

    assert found.cuts == (1, 2)


def test_by_parameter_count_ignores_that_early_steps_are_slow():
    chain = three_tpus([9, 9, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1])

    assert coral_algorithms.by_parameter_count(chain).slowest_s == pytest.approx(0.018)
    assert coral_algorithms.by_bisection(chain).slowest_s == pytest.approx(0.009)


def test_bisection_ends_within_a_millisecond_of_the_best():
    chain = three_tpus([3, 1, 4, 1, 5, 9, 2, 6], [1] * 8)
    best = partitioner.smoothest(chain)

    assert (
        best.slowest_s
        <= coral_algorithms.by_bisection(chain).slowest_s
        <= best.slowest_s + coral_algorithms.BISECTION_ENDS_S
    )


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), min_size=3, max_size=30))
def test_neither_ever_beats_the_exact_search(steps):
    chain = three_tpus([time for time, _ in steps], [size for _, size in steps])
    best = partitioner.smoothest(chain)

    for rival in (coral_algorithms.by_parameter_count(chain), coral_algorithms.by_bisection(chain)):
        assert best.slowest_s <= rival.slowest_s + 1e-12
        assert rival.pieces[-1].stop == len(chain.places) - 1


def test_the_gain_of_a_cache_that_fits_is_told_apart_from_pipelining():
    chain = three_tpus([2, 2, 2], [8, 8, 8], cache=Cache(8 * MB, 400 * MB))
    found = partitioner.smoothest(chain)
    gain = explanation.slowest(chain, found)

    assert found.cuts == (1, 2)
    # One TPU: 6 ms and 16 MB streamed in 40 ms. Three: 2 ms each, all at once.
    assert (gain.before_s, gain.after_s) == pytest.approx((0.046, 0.002))
    assert gain.cache_fit_s == pytest.approx(0.040)
    assert gain.faster_silicon_s == pytest.approx(0.0)
    assert gain.pipelining_s == pytest.approx(0.004)


def test_one_frame_gains_nothing_by_pipelining():
    chain = three_tpus([2, 2, 2], [8, 8, 8], cache=Cache(8 * MB, 400 * MB))
    gain = explanation.latency(chain, partitioner.fastest(chain)[0])

    assert gain.cache_fit_s == pytest.approx(0.040)
    assert gain.pipelining_s == pytest.approx(0.0)


def test_faster_silicon_and_its_price_in_transfers():
    slow, fast = Stage("pi", (0.0, 0.010, 0.020)), Stage("server", (0.0, 0.001, 0.002))
    chain = Chain(("in", "mid", "out"), (1e6, 100.0, 4.0), (0.0,) * 3, (slow, fast), {(0, 1): Hop(0.001, 8e5)})
    gain = explanation.latency(chain, partitioner.fastest(chain)[0])

    assert gain.as_json() == pytest.approx(
        {
            "baseline": "pi",
            "before_ms": 20.0,
            "after_ms": 13.0,
            "cache_fit_ms": 0.0,
            "faster_silicon_ms": 9.0,
            "transfers_ms": -2.0,
            "pipelining_ms": 0.0,
        },
        abs=1e-9,
    )


def test_what_no_machine_can_hold_has_nothing_to_be_compared_with():
    chain = three_tpus([2, 2, 2], [8, 8, 8])
    small = dataclasses.replace(
        chain, stages=tuple(dataclasses.replace(stage, memory_bytes=9 * MB) for stage in chain.stages)
    )
    (found,) = partitioner.fastest(small)

    assert found.cuts == (1, 2)
    assert explanation.latency(small, found) is None
