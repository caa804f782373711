import numpy as np
import pytest

from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import TensorSpec
from tflsplit.package import outputs

SCORES = TensorSpec("scores", (1, 4), "int8", 1 / 256, -128)


def test_the_best_classes_are_named_best_first():
    answer = outputs.read((SCORES,), (np.array([[-128, 64, 127, 0]], np.int8),), ("a", "b", "c"), count=3)

    assert answer.label == "c"
    assert answer.score == 255 / 256
    assert [label for label, _ in answer.top] == ["c", "b", "3"]


def test_of_equal_scores_the_lower_class_wins():
    assert outputs.read((SCORES,), (np.zeros((1, 4), np.int8),), ()).label == "0"


def test_a_regression_has_values_and_no_label():
    spec = TensorSpec("angle", (1, 1), "int8", 0.5, 10)
    answer = outputs.read((spec,), (np.array([[14]], np.int8),), ())

    assert answer.label is None
    assert answer.values == (("angle", (2.0,)),)


def test_a_large_output_is_not_spelled_out():
    spec = TensorSpec("mask", (1, 16, 16, 2), "int8", 0.5, 0)

    assert outputs.read((spec,), (np.zeros(spec.shape, np.int8),), ()).values == ()


SHARE = TensorSpec("share", (1, 1), "int8", 1 / 256, -128)


@pytest.mark.parametrize(("stored", "label", "score"), [(64, "dog", 0.75), (-64, "cat", 0.75), (0, "dog", 0.5)])
def test_a_sigmoid_of_one_value_chooses_between_two_labels(stored, label, score):
    answer = outputs.read((SHARE,), (np.array([[stored]], np.int8),), ("cat", "dog"), (Meaning.SIGMOID,))

    assert (answer.label, answer.score) == (label, score)
    assert {name for name, _ in answer.top} == {"cat", "dog"}
    assert sum(share for _, share in answer.top) == 1.0


def test_without_labels_a_sigmoid_of_one_value_says_0_or_1():
    assert outputs.read((SHARE,), (np.array([[64]], np.int8),), (), (Meaning.SIGMOID,)).label == "1"


def test_of_independent_labels_all_that_hold_are_named():
    stored = np.array([[120, -128, 0, -1]], np.int8)
    answer = outputs.read((SCORES,), (stored,), ("a", "b", "c", "d"), (Meaning.MULTI_LABEL,), count=1)

    assert [label for label, _ in answer.top] == ["a", "c"]


def test_where_no_label_holds_there_is_none():
    answer = outputs.read((SCORES,), (np.full((1, 4), -128, np.int8),), ("a", "b", "c", "d"), (Meaning.MULTI_LABEL,))

    assert (answer.label, answer.score, answer.top) == (None, None, ())
    assert answer.values == (("scores", (0.0,) * 4),)


def test_classes_are_found_wherever_their_axis_stands():
    spec = TensorSpec("scores", (1, 1, 1, 4), "int8", 1 / 256, -128)
    stored = np.array([0, 1, 9, 2], np.int8).reshape(spec.shape)

    assert outputs.read((spec,), (stored,), ()).label == "2"
    assert outputs.read((spec,), (stored,), (), (Meaning.SOFTMAX,)).label == "2"


def test_plain_values_have_no_label_however_many_they_are():
    assert outputs.read((SCORES,), (np.zeros((1, 4), np.int8),), (), (Meaning.VALUES,)).label is None


def test_the_first_output_that_has_classes_is_labelled():
    stored = (np.array([[14]], np.int8), np.array([[0, 1, 9, 2]], np.int8))
    specs = (TensorSpec("angle", (1, 1), "int8", 0.5, 10), SCORES)

    assert outputs.read(specs, stored, (), (Meaning.VALUES, Meaning.SOFTMAX)).label == "2"
