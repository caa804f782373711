"""Biases of int8 models that are corrected by the mean error of their channels."""

import numpy as np
import pytest

from converters import quantize
from converters.float_model import biases, fidelity
from converters.loading import quiet
from tflsplit import errors
from tflsplit.graph import flatgraph


def _deep(layers=6, *, use_bias=True):
    """Behind a ReLU the inputs of a layer are above zero, so that its rounding errors add up to a shift."""

    def build(keras):
        x = entry = keras.Input((24,))
        for _ in range(layers):
            x = keras.layers.Dense(48, activation="relu", kernel_initializer="he_normal", use_bias=use_bias)(x)
        return keras.Model(entry, keras.layers.Dense(8, use_bias=use_bias)(x))

    return build


def _samples(count, seed=0):
    """Levels that differ a little from sample to sample, as of a process that runs."""
    rng = np.random.default_rng(seed)
    return ((2 + rng.normal(0, 0.3, (count, 24))).astype(np.float32),)


def _quantised(model, samples):
    with quiet.silenced():
        return quantize.quantise(model, samples)


def _ratio(model, data, samples):
    (found,) = fidelity.measure(model, data, samples)
    return found.sqnr_db


def _constants(data, kind):
    graph = flatgraph.read(data)
    return [
        flatgraph.constant(graph, tensor.index).tobytes()
        for tensor in graph.tensors
        if tensor.is_constant and tensor.type_name == kind
    ]


@pytest.mark.parametrize("use_bias", [True, False])
def test_results_come_nearer_to_float_on_samples_that_were_not_used(load_built, use_bias):
    model, samples = load_built(_deep(use_bias=use_bias)), _samples(64)
    before = _quantised(model, samples)

    made = biases.corrected(model, before, samples)

    unseen = _samples(200, seed=1)
    assert _ratio(model, made.data, unseen) > _ratio(model, before, unseen) + 1
    (note,) = made.notes
    assert note.startswith("biases of 7 operators corrected by the mean error of their channels: ")
    assert note.endswith(" on 32 samples left out of it")


def test_nothing_but_biases_changes(load_built):
    model, samples = load_built(_deep()), _samples(64)
    before = _quantised(model, samples)

    after = biases.corrected(model, before, samples).data

    assert _constants(after, "int8") == _constants(before, "int8")
    assert _constants(after, "int32") != _constants(before, "int32")
    graphs = flatgraph.read(before), flatgraph.read(after)
    scales = [
        [(spec.scale, spec.zero_point) for spec in (tensor.spec for tensor in graph.tensors) if spec]
        for graph in graphs
    ]
    assert scales[1][: len(scales[0])] == scales[0]


def test_a_model_that_would_gain_nothing_stays_as_it_is(load_built):
    around_zero = (_samples(64)[0] - 2,)
    model = load_built(_deep(layers=0))
    before = _quantised(model, around_zero)

    assert biases.corrected(model, before, around_zero).data == before


def test_means_of_few_samples_are_not_trusted(load_built):
    model, samples = load_built(_deep()), _samples(7)
    before = _quantised(model, samples)

    assert biases.corrected(model, before, samples).data == before


def test_weights_that_several_steps_share_are_left_out(load_built, monkeypatch):
    def build(keras):
        x = entry = keras.Input((5, 6))
        return keras.Model(entry, keras.layers.Dense(3)(keras.layers.GRU(4)(x)))

    model = load_built(build)
    samples = (np.random.default_rng(0).normal(size=(16, 5, 6)).astype(np.float32),)
    integer = _quantised(model, samples)
    monkeypatch.setattr(biases, "_LEAST_GAIN_DB", -100.0)

    assert biases.corrected(model, integer, samples).data == integer
    graphs = flatgraph.read(integer), flatgraph.read(quantize.unquantised(model, integer))
    paired = dict(biases._pairs(*graphs))
    assert [graphs[0].tensors[graphs[0].operators[index].outputs[0]].shape for index in paired] == [(1, 3)]


def test_a_float_model_that_cannot_be_made_is_told_and_refuses_nothing(load_built, monkeypatch):
    def refuse(*_):
        raise errors.ModelError("no kernel")

    model, samples = load_built(_deep()), _samples(16)
    before = _quantised(model, samples)
    monkeypatch.setattr(biases.quantize, "unquantised", refuse)

    made = biases.corrected(model, before, samples)

    assert made.data == before
    assert made.notes == ("biases are left as they were, correcting them was not possible (no kernel)",)
