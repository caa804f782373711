"""The search over a chain against trying everything, and exact answers on invented times."""

import dataclasses
import itertools
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflsplit.chains import chain as chains
from tflsplit.chains import partitioner
from tflsplit.chains.chain import Cache, Chain, Hop, Stage


def every_partition(chain, terms):
    """All ways of giving consecutive pieces to stages in order, costed one by one."""
    last = len(chain.places) - 1
    for count in range(1, len(chain.stages) + 1):
        if terms.uses_all and count < len(chain.stages):
            continue
        for used in itertools.combinations(range(len(chain.stages)), count):
            for inner in itertools.combinations(range(1, last), count - 1):
                stops = (*inner, last)
                shares = list(zip(used, (0, *inner), stops, strict=True))
                ends = [
                    (stage, last, last) for stage in range(1, len(chain.stages)) if chain.delivered and used[-1] == 0
                ]
                if chain.delivered and used[-1] == 0 and (not ends or terms.uses_all):
                    continue
                if all(
                    chain.parameter_bytes[stop] - chain.parameter_bytes[start] <= chain.stages[stage].memory_bytes
                    for stage, start, stop in shares
                ) and all(
                    any(stage == pinned and start <= step < stop for stage, start, stop in shares)
                    for step, pinned in terms.pins.items()
                ):
                    ways = [chains.partition(chain, [*shares, end]) for end in ends]
                    for made in ways or [chains.partition(chain, shares)]:
                        if made.slowest_s <= terms.most_s:
                            yield made


@st.composite
def random_chains(draw):
    steps = draw(st.integers(1, 12))
    milliseconds = st.integers(0, 50)

    def rising(numbers):
        return tuple(float(value) for value in itertools.accumulate(numbers, initial=0))

    stages = tuple(
        Stage(
            name=f"s{number}",
            compute_s=tuple(
                value / 1e3 for value in rising(draw(st.lists(milliseconds, min_size=steps, max_size=steps)))
            ),
            coding_s=draw(st.sampled_from([(), tuple([0.001] * (steps + 1))])),
            memory_bytes=draw(st.sampled_from([math.inf, 30.0])),
            cache=draw(st.sampled_from([None, Cache(8.0, 1000.0)])),
        )
        for number in range(draw(st.integers(1, 4)))
    )
    columns = st.sampled_from([(), tuple(number / 1e3 for number in range(steps + 1))])
    hop = st.builds(
        Hop,
        st.sampled_from([0.0, 0.005]),
        st.sampled_from([8e3, 80e3]),
        back_s=st.sampled_from([0.0, 0.003]),
        sending_s=columns,
        occupied_s=columns,
    )
    hops = {(at, at + 1): draw(hop) for at in range(len(stages) - 1)}
    if len(stages) > 2 and draw(st.booleans()):
        hops[0, len(stages) - 1] = draw(hop)
    crossing = draw(st.lists(st.integers(1, 100), min_size=steps + 1, max_size=steps + 1))
    weights = rising(draw(st.lists(st.integers(0, 10), min_size=steps, max_size=steps)))
    places = tuple(f"p{number}" for number in range(steps + 1))
    pins = draw(st.dictionaries(st.integers(0, steps - 1), st.integers(0, len(stages) - 1), max_size=2))
    most_s = draw(st.sampled_from([math.inf, 0.1]))
    terms = partitioner.Terms(uses_all=draw(st.booleans()), pins=pins, most_s=most_s)
    wire = tuple(float(size) for size in crossing)
    preprocess_s = draw(st.sampled_from([0.0, 0.02]))
    return Chain(places, wire, weights, stages, hops, preprocess_s, delivered=draw(st.booleans())), terms


@given(random_chains())
def test_the_fastest_and_the_runners_up_equal_trying_everything(drawn):
    chain, terms = drawn
    expected = sorted(made.latency_s for made in every_partition(chain, terms))[:4]
    found = partitioner.fastest(chain, count=4, terms=terms)

    assert [made.latency_s for made in found] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert len({made.pieces for made in found}) == len(found)


@given(random_chains())
def test_the_least_slowest_stage_equals_trying_everything(drawn):
    chain, terms = drawn
    everything = list(every_partition(chain, terms))
    found = partitioner.smoothest(chain, terms=terms)

    if not everything:
        assert found is None
        return
    least_s = min(made.slowest_s for made in everything)
    tied = [made.latency_s for made in everything if made.slowest_s <= least_s * (1 + 1e-9)]

    assert found.slowest_s == pytest.approx(least_s, rel=1e-9, abs=1e-12)
    assert found.latency_s == pytest.approx(min(tied), rel=1e-6, abs=1e-9)


def chain_of(*compute, wire=None, weights=None, hops=None, **options):
    """Stages that take these seconds a step, over hops of no delay and 1 byte a second unless given."""
    places = len(compute[0]) + 1
    stages = tuple(
        Stage(f"s{number}", tuple(itertools.accumulate(steps, initial=0.0)), **options)
        for number, steps in enumerate(compute)
    )
    return Chain(
        tuple(f"p{number}" for number in range(places)),
        wire or (0.0,) * places,
        weights or (0.0,) * places,
        stages,
        hops or {(at, at + 1): Hop(0.0, 8.0) for at in range(len(stages) - 1)},
    )


def test_a_slow_link_keeps_everything_on_one_machine():
    (found,) = partitioner.fastest(chain_of((1.0, 1.0), (0.1, 0.1), wire=(9.0, 9.0, 9.0)))

    assert [(piece.stage, piece.start, piece.stop) for piece in found.pieces] == [(0, 0, 2)]


def test_a_small_boundary_is_where_it_splits():
    (found,) = partitioner.fastest(chain_of((1.0, 1.0, 1.0), (0.1, 0.1, 0.1), wire=(9.0, 0.5, 9.0, 0.0)))

    assert found.cuts == (1,)
    assert found.latency_s == pytest.approx(1.0 + 0.5 + 0.2)


def test_the_slowest_stage_is_balanced_unless_the_link_there_is_slower_still():
    steps = (1.0,) * 4
    over_a_fast_link = partitioner.smoothest(chain_of(steps, steps, wire=(9.0, 0.0, 1.5, 0.0, 9.0)))
    over_a_slow_link = partitioner.smoothest(chain_of(steps, steps, wire=(9.0, 0.0, 3.5, 0.0, 9.0)))

    assert (over_a_fast_link.cuts, over_a_fast_link.slowest_s) == ((2,), 2.0)
    assert over_a_slow_link.cuts in ((1,), (3,))
    assert over_a_slow_link.slowest_s == 3.0


def test_weights_that_do_not_fit_are_streamed_and_two_caches_hold_more_than_one():
    chain = chain_of((1.0, 1.0), (1.0, 1.0), weights=(0.0, 8.0, 16.0), cache=Cache(8.0, 1.0))
    (found,) = partitioner.fastest(chain)

    assert chains.whole(chain, 0).latency_s == pytest.approx(2.0 + 8.0)
    assert (found.cuts, found.latency_s) == ((1,), 2.0)


def test_a_stage_that_cannot_hold_its_piece_gets_a_smaller_one():
    chain = chain_of((0.1, 0.1), (1.0, 1.0), weights=(0.0, 5.0, 10.0), memory_bytes=5.0)
    (found,) = partitioner.fastest(chain)

    assert chains.whole(chain, 0) is None
    assert found.cuts == (1,)


def test_no_partition_where_nothing_fits():
    chain = chain_of((0.1, 0.1), (1.0, 1.0), weights=(0.0, 5.0, 10.0), memory_bytes=4.0)

    assert partitioner.fastest(chain) == []
    assert partitioner.smoothest(chain) is None


def test_200_cuts_and_3_stages_take_under_50_ms():
    steps = [0.001 + (number * 7919 % 13) / 1e4 for number in range(199)]
    chain = chain_of(
        steps, [step / 3 for step in steps], [step / 9 for step in steps], wire=tuple(1e-3 for _ in range(200))
    )
    times = []
    for _ in range(5):
        started_s = time.perf_counter()
        partitioner.fastest(chain)
        partitioner.smoothest(chain)
        times.append(time.perf_counter() - started_s)

    assert min(times) < 0.050


def test_a_pinned_step_runs_where_it_must():
    (found,) = partitioner.fastest(
        chain_of((1.0, 1.0), (0.1, 0.1), wire=(9.0, 19.0, 9.0)), terms=partitioner.Terms(pins={1: 1})
    )

    assert [(piece.stage, piece.start, piece.stop) for piece in found.shares] == [(1, 0, 2)]


def test_a_first_machine_that_runs_nothing_still_takes_the_input_in_and_sends_it():
    chain = chain_of((9.0,), (1.0,), wire=(2.0, 2.0), coding_s=(0.5, 0.25))
    (found,) = partitioner.fastest(dataclasses.replace(chain, preprocess_s=4.0))

    assert [(piece.stage, piece.start, piece.stop) for piece in found.pieces] == [(0, 0, 0), (1, 0, 1)]
    # Preprocessed, encoded, sent, decoded, run.
    assert found.latency_s == pytest.approx(4.0 + 0.5 + 2.0 + 0.5 + 1.0)
    assert (found.is_split, found.slowest_s) == (False, 4.5)


def test_an_answer_that_is_delivered_goes_to_the_nearest_machine_and_back():
    hops = {(0, 1): Hop(0.5, 8.0, back_s=0.25), (1, 2): Hop(0.5, 8.0, back_s=0.25)}
    chain = chain_of((1.0,), (9.0,), (9.0,), wire=(50.0, 2.0), hops=hops)
    (kept,) = partitioner.fastest(chain)
    (found,) = partitioner.fastest(dataclasses.replace(chain, delivered=True))

    assert kept.latency_s == pytest.approx(1.0)
    assert [(piece.stage, piece.start, piece.stop) for piece in found.pieces] == [(0, 0, 1), (1, 1, 1)]
    assert found.latency_s == pytest.approx(1.0 + 0.5 + 2.0 + 0.25)
