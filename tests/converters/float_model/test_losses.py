"""The operator that loses most, of models that were just quantised."""

import numpy as np
import pytest

from converters import convert, quantize
from converters.float_model import losses


def detector(k):
    """Boxes in pixels and scores in one tensor, as many exports of detectors have them."""
    picture = k.Input((16, 16, 3), name="picture")
    x = k.layers.Conv2D(8, 3, strides=4, activation="relu", name="stem")(picture)
    boxes = k.layers.Rescaling(400.0, name="pixels")(k.layers.Conv2D(4, 1, activation="sigmoid", name="boxes")(x))
    scores = k.layers.Conv2D(3, 1, activation="sigmoid", name="scores")(x)
    return k.Model(picture, k.layers.Concatenate(name="predictions")([boxes, scores]))


def plain(k):
    x = k.Input((6,), name="x")
    return k.Model(x, k.layers.Dense(3, name="last")(k.layers.Dense(8, activation="relu", name="first")(x)))


@pytest.fixture
def advised(load_built, samples):
    def advised(build):
        model = load_built(build)
        given = samples(model)
        return losses.advice(model, quantize.quantise(model, given, io_dtype="int8"), given)

    return advised


def test_columns_that_share_a_scale_are_named_with_the_cut_that_keeps_them_apart(advised):
    said = advised(detector)
    assert "gives columns of different size one scale: columns 4-6 of axis 3 (up to " in said
    assert "convert with --tail float32 and cut at op0" in said


def test_else_the_operator_that_loses_most_is_named(advised):
    assert advised(plain).startswith("op00")
    assert " loses most: alone it keeps " in advised(plain)


def test_a_model_file_is_measured_on_what_it_was_calibrated_on(keras, saved, tmp_path):
    path = saved(plain(keras), "plain.keras")
    np.save(tmp_path / "data.npy", np.ones((4, 6), np.float32))
    options = convert.options_for_errors(path, tmp_path / "data.npy", "cpu")
    assert (options.tail, options.calibration, options.pairs) == ("float32", tmp_path / "data.npy", "none")
