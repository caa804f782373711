"""Columns of one tensor that differ in size."""

import numpy as np
import pytest

from tflsplit.graph import flatgraph
from tflsplit.losses import columns


def tallies(values, step):
    found = columns.Tallies()
    found.add(values, np.rint(values / step) * step)
    return found


def predictions(large, small, *, count=200):
    """Boxes in the columns `large` of axis 1, scores in `small`."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 1, (1, len(large) + len(small), count))
    values[:, large] *= 600
    return values


def test_scores_beside_boxes_have_a_figure_of_their_own():
    boxes, scores = columns.hidden(tallies(predictions([0, 1, 2, 3], [4, 5]), 5.0), 40.0)
    assert (boxes.axis, boxes.ranges, scores.ranges) == (1, ((0, 3),), ((4, 5),))
    assert boxes.sqnr_db > 35
    assert scores.sqnr_db < 0
    assert str(boxes).startswith("columns 0-3 of axis 1 (up to 600): ")


def test_boxes_on_both_sides_of_a_score_are_one_group():
    boxes, score = columns.hidden(tallies(predictions([0, 1, 3, 4], [2]), 5.0), 40.0)
    assert (boxes.ranges, score.ranges) == (((0, 1), (3, 4)), ((2, 2),))
    assert "columns 0-1, 3-4 of axis 1" in str(boxes)


def test_columns_of_one_size_are_no_groups():
    assert columns.hidden(tallies(predictions([], [0, 1, 2, 3]), 0.01), 30.0) == ()


def test_a_step_that_fits_both_hides_nothing():
    assert columns.hidden(tallies(predictions([0, 1], [2, 3]), 0.001), 100.0) == ()


def test_sizes_that_change_from_column_to_column_are_nobodys_order():
    large = list(range(0, 40, 2))
    assert columns.hidden(tallies(predictions(large, list(range(1, 40, 2))), 5.0), 40.0) == ()


@pytest.mark.parametrize("peaks", [[0.0, 0.0], [0.0, 3.0], [2.0, 2.0]])
def test_columns_that_hold_nothing_are_not_split(peaks):
    assert columns._split(np.array(peaks)) is None


def test_what_arranges_before_the_output_belongs_to_the_end(residual_model):
    assert columns.at_the_end(flatgraph.read(residual_model)) == [2]


def test_shares_of_classes_are_made_for_one_scale(builder):
    x = builder.tensor("x", (1, 4))
    soft = builder.tensor("soft", (1, 4), scale=1 / 256, zero_point=-128)
    builder.operator("SOFTMAX", (x,), (soft,), version=2)

    assert columns.at_the_end(flatgraph.read(builder.build((x,), (soft,)))) == []
