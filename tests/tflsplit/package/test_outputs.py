import numpy as np

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
