"""Inputs that are cast first are given in the type that the model computes on; other openings of old forms."""

import numpy as np
import pytest

from converters import quantize
from converters.calibration import synthesis
from tflsplit.graph import flatgraph
from tflsplit.inputs.preprocessing import NAMED


def _uint8_picture(keras):
    entry = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(keras.ops.cast(entry, "float32"))
    return keras.Model(entry, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(x))))


def _float_ids(keras):
    entry = keras.Input((6,))
    return keras.Model(entry, keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(50, 8)(entry)))


@pytest.mark.parametrize(("build", "given"), [(_uint8_picture, "float32"), (_float_ids, "int32")])
def test_an_input_is_given_in_the_type_it_is_cast_to(load_retyped, build, given):
    model = load_retyped(build)
    assert [entry.dtype for entry in model.inputs] == [given]
    assert f"takes {given} instead of" in model.notes[0]
    samples, _ = synthesis.synthesise(model, NAMED["raw"], distils=False)
    graph = flatgraph.read(quantize.quantise(model, samples))
    assert "CAST" not in {operator.name for operator in graph.operators}


def test_results_are_those_of_the_model_itself(load_retyped):
    model = load_retyped(_uint8_picture)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.float32)
    expected = np.asarray(model.keras_model(pixels.astype(np.uint8), training=False))
    np.testing.assert_allclose(model.predict([pixels])[0], expected, rtol=1e-4, atol=1e-4)


def _batch_of_8(keras):
    entry = keras.Input((8, 8, 3), batch_size=8)
    return keras.Model(entry, keras.layers.Dense(3)(keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(entry))))


def _cell(keras):
    entry = keras.Input((3, 4))
    return keras.Model(entry, keras.layers.RNN([keras.layers.LSTMCell(4)])(entry))


def _cells(keras):
    entry = keras.Input((3, 4))
    return keras.Model(entry, keras.layers.RNN([keras.layers.LSTMCell(4), keras.layers.GRUCell(3)])(entry))


def _both_ways(keras):
    entry = keras.Input((3, 4))
    return keras.Model(entry, keras.layers.Bidirectional(keras.layers.RNN([keras.layers.LSTMCell(4)]))(entry))


def _dropped_out(keras):
    entry = keras.Input((3, 4))
    return keras.Model(entry, keras.layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2)(entry))


@pytest.mark.parametrize("build", [_batch_of_8, _cell, _cells, _both_ways, _dropped_out])
def test_a_form_opens_and_converts(load_built, build):
    model = load_built(build)
    assert all(entry.shape[0] == 1 for entry in model.inputs)
    samples, _ = synthesis.synthesise(model, NAMED["unit"], distils=False)
    assert quantize.quantise(model, samples)


def test_samples_made_for_an_embedding_are_ids_that_it_has(load_retyped):
    model = load_retyped(_float_ids)
    ((ids,), _) = synthesis.synthesise(model, NAMED["raw"], distils=False)
    assert 0 <= ids.min() < ids.max() < 50
    assert ids.max() > 1
