"""The error of each operator, in the run and by itself."""

import math

import numpy as np
import pytest
from lossy_models import coarse_model

from tflsplit.graph import flatgraph
from tflsplit.losses import measurement, twin
from tflsplit.losses.measurement import varying_db

SAME = {index: index for index in range(5)}


@pytest.fixture
def losses(samples):
    model = coarse_model()
    found = measurement.measure(model, twin.of_model(flatgraph.read(model)), SAME, samples((1, 400)))
    return {loss.tensor: loss for loss in found.operators}


# Uniform values of ±51.2 in steps of 20: the range over the step, both uniform, 20·log10(102.4 / 20) dB.
COARSE_DB = 20 * math.log10(4 * 25.6 / 20)


def test_an_operator_that_is_too_coarse_adds_its_own_rounding(losses):
    assert losses["b"].alone_db == pytest.approx(COARSE_DB, abs=1)
    assert losses["b"].run_db == pytest.approx(COARSE_DB, abs=1)


def test_what_comes_behind_loses_nothing_by_itself_and_all_in_the_run(losses):
    assert losses["d"].run_db == pytest.approx(COARSE_DB, abs=1)
    assert losses["d"].alone_db > 35
    assert losses["a"].run_db > 35


def test_the_order_is_by_what_an_operator_adds(losses):
    assert min(losses.values(), key=lambda loss: loss.least_db).tensor == "b"


def test_what_a_scale_keeps_is_known_of_every_tensor(samples):
    model = coarse_model()
    found = measurement.measure(model, twin.of_model(flatgraph.read(model)), SAME, samples((1, 400)))
    kept = {flatgraph.read(model).tensors[index].name: value for index, value in found.kept_db.items()}
    assert kept["x"] == 300.0  # it is a sample as the model stores it
    assert kept["b"] == pytest.approx(COARSE_DB, abs=1)
    assert kept["d"] > 35


def test_samples_that_do_not_fit_into_memory_at_once_give_the_same(samples, losses, monkeypatch):
    monkeypatch.setattr(measurement, "_MOST_BYTES", 1)
    model = coarse_model()
    heard = []
    found = measurement.measure(
        model, twin.of_model(flatgraph.read(model)), SAME, samples((1, 400)), on_operator=heard.append
    )
    assert heard.count("the whole model") == 8
    assert {loss.tensor: loss for loss in found.operators} == losses


def test_an_operator_without_a_counterpart_says_so(samples):
    model = coarse_model()
    found = measurement.measure(model, twin.of_model(flatgraph.read(model)), {0: 0, 1: 1, 3: 3}, samples((1, 400)))
    b, c = found.operators[1:3]
    assert (b.alone_db, b.run_db, b.reason) == (None, None, "the float model has no tensor that its result stands for")
    assert (c.alone_db, c.reason) == (None, "the float model has not all of its inputs")
    assert c.run_db is not None


def test_a_level_that_never_varies_counts_for_nothing():
    values = np.full(8, 1000.0)
    assert varying_db(4.0, float(np.square(values).sum()), float(values.sum()), 8) is None
    values += np.array([1, -1] * 4)
    assert varying_db(8.0, float(np.square(values).sum()), float(values.sum()), 8) == 0.0


def test_no_error_at_all_is_a_number_that_json_has():
    assert varying_db(0.0, 10.0, 0.0, 4) == 300.0
