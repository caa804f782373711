import numpy as np
import pytest

from tflsplit.evaluation import scores, suspects
from tflsplit.inputs.preprocessing import NAMED
from tflsplit.inputs.resizing import Resize


def test_right_answers_are_counted_by_class_and_wrong_ones_by_what_was_answered():
    found = scores.of_labels(["a", "a", "b", "b", "b"], ["a", "b", "a", "a", None])

    assert (found.right, found.accuracy) == (1, 0.2)
    assert found.of_classes == {"a": (1, 2), "b": (0, 3)}
    assert found.confusions == (("b", "a", 2), ("a", "b", 1), ("b", "nothing", 1))


def test_errors_of_numbers_are_their_own():
    truths, answers = np.array([[0, 5], [2, 5], [4, 5]]), np.array([[1, 5], [2, 6], [3, 4]])
    found = scores.of_numbers(truths, answers)

    assert found.mae == pytest.approx((2 / 3, 2 / 3))
    assert found.r2 == (pytest.approx(1 - 2 / 8), None)


@pytest.mark.parametrize(("gained", "lost", "clear"), [(30, 0, True), (30, 25, False), (4, 0, False), (12, 0, True)])
def test_a_way_is_better_only_beyond_chance(gained, lost, clear):
    own = [False] * gained + [True] * lost + [True] * 45
    other = [True] * gained + [False] * lost + [True] * 45

    assert scores.is_clearly_more_right(own, other) is clear


def test_errors_are_smaller_only_beyond_chance():
    random = np.random.default_rng(0)
    errors_ = np.abs(random.normal(size=100))

    assert scores.is_clearly_nearer(errors_, errors_ * 0.5)
    assert not scores.is_clearly_nearer(errors_, np.abs(random.normal(size=100)))


def test_other_ways_change_one_thing_each_and_leave_out_what_is_alike():
    words = [words for words, _ in suspects.preprocessings(NAMED["unit"], 3, are_files=True)]

    assert len(words) == len(set(words))
    assert not any(each == "--preprocess unit" for each in words)
    assert {"--preprocess raw", "--preprocess unit with channels in BGR order", "--resize crop"} <= set(words)
    grey = [other for _, other in suspects.preprocessings(NAMED["unit"], 1, are_files=False)]
    assert {other.resize for other in grey} == {Resize.STRETCH}
    assert {other.channel_order for other in grey} == {"rgb"}


def test_labels_in_another_order_name_other_classes():
    found = {words.split(" (")[0]: renamed for words, renamed in suspects.namings(("dog", "cat", "ant"), 3)}

    assert found["labels with one more line at their beginning"](2) == 1
    alphabetical = next(renamed for words, renamed in found.items() if "alphabetical" in words)
    assert [("dog", "cat", "ant")[alphabetical(place)] for place in range(3)] == ["ant", "cat", "dog"]
