"""Cuts between two that were timed, on invented timings."""

import pytest
import tiny_models

from edge_runtime.profiling import interpolation
from tflsplit.timings.profiles import CutTiming, Origin, Timing


def chain(builder, operators=10):
    """A chain of equal additions: every step is the same work."""
    tensor = first = builder.tensor("x", (1, 8))
    for number in range(operators):
        tensor = builder.add(tensor, tensor, f"t{number}", (1, 8))
    return tiny_models.describe(builder.build((first,), (tensor,))).cuts


def timing(cut, run_s, coded_bytes=4.0):
    return CutTiming(cut.id, Timing((run_s, run_s * 2, run_s * 3)), Timing((0.1,)), coded_bytes, run_s, int(run_s))


def test_all_cuts_are_timed_where_the_budget_allows_it(builder):
    cuts = chain(builder)

    assert interpolation.affordable(cuts, seconds_a_cut=1.0, budget_s=11.0) == cuts


def test_otherwise_cuts_are_spread_over_the_work_and_both_ends_are_in(builder):
    cuts = chain(builder)
    chosen = interpolation.affordable(cuts, seconds_a_cut=1.0, budget_s=3.0)

    assert [cut.position for cut in chosen] == [0, 5, 10]


def test_the_ends_are_timed_whatever_the_budget(builder):
    cuts = chain(builder)

    assert interpolation.affordable(cuts, seconds_a_cut=1e9, budget_s=1.0) == (cuts[0], cuts[-1])


def test_between_two_timed_cuts_every_percentile_grows_with_the_work(builder):
    cuts = chain(builder)
    filled = interpolation.fill(cuts, {cuts[0].id: timing(cuts[0], 0.0), cuts[10].id: timing(cuts[10], 100.0)})

    assert [entry.cut for entry in filled] == [cut.id for cut in cuts]
    assert [entry.run.p50_s for entry in filled] == pytest.approx([20.0 * number for number in range(11)])
    assert {entry.run.origin for entry in filled[1:-1]} == {Origin.ESTIMATED}
    assert {entry.run.origin for entry in (filled[0], filled[-1])} == {Origin.MEASURED}
    assert filled[5].memory_bytes == 50
    assert filled[5].coded_bytes == pytest.approx(4.0)


def test_decoding_has_no_coded_size_to_interpolate(builder):
    cuts = chain(builder)
    timed = {cuts[0].id: timing(cuts[0], 0.0, None), cuts[10].id: timing(cuts[10], 1.0, None)}

    assert interpolation.fill(cuts, timed)[5].coded_bytes is None
