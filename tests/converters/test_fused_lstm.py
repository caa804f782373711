"""LSTM layers become one operator each, with the float model's results."""

import numpy as np
import pytest

from converters import fused_lstm, quantize
from converters.float_model import fidelity, layers
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify

FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"


def stacked(k):
    entry = k.Input((9, 6))
    x = k.layers.LSTM(8, return_sequences=True, name="first")(entry)
    return k.Model(entry, k.layers.Dense(3)(k.layers.LSTM(7, use_bias=False, name="second")(x)))


def both_ways(k):
    entry = k.Input((9, 6))
    x = k.layers.Bidirectional(k.layers.LSTM(6, return_sequences=True))(entry)
    return k.Model(entry, k.layers.Dense(3)(k.layers.Bidirectional(k.layers.LSTM(6))(x)))


def two_inputs(k):
    late, early = k.Input((9, 6), name="z"), k.Input((7, 5), name="a")
    joined = k.layers.Concatenate()([k.layers.LSTM(6)(early), k.layers.LSTM(5)(late)])
    return k.Model([late, early], [k.layers.Dense(3)(joined), k.layers.Dense(2)(joined)])


def called_twice(k):
    entry = k.Input((9, 6))
    layer = k.layers.LSTM(6)
    return k.Model(entry, k.layers.Dense(3)(k.layers.Concatenate()([layer(entry), layer(k.layers.Dense(6)(entry))])))


def of_words(k):
    """The embeddings of an untrained table are so small that cells take a scale finer than the kernel's tanh."""
    entry = k.Input((12,), dtype="int32")
    return k.Model(entry, k.layers.Dense(3)(k.layers.LSTM(8)(k.layers.Embedding(20, 8)(entry))))


def given(model, samples):
    whole = model.inputs[0].dtype == "int32"
    return (np.random.default_rng(0).integers(0, 20, (16, 12), np.int32),) if whole else samples(model)


@pytest.mark.parametrize(
    ("build", "count"), [(stacked, 2), (both_ways, 4), (two_inputs, 2), (called_twice, 2), (of_words, 1)]
)
def test_each_lstm_is_an_operator_that_gives_what_the_layer_gives(load_built, samples, either_keras, build, count):
    model = load_built(build, either_keras)
    data = quantize.quantise(model, given(model, samples))
    graph = flatgraph.read(data)

    assert [operator.name for operator in graph.operators].count(FUSED) == count
    assert [spec.name for spec in graph.specs(graph.inputs)] == [entry.name for entry in model.inputs]
    # What the converter's own scales gave was below 9 dB; unrolled these have 15 to 35.
    assert min(each.sqnr_db for each in fidelity.measure(model, data, given(model, samples))) > 19
    assert fused_lstm.unrolled_note(model, data) == ()
    check_all_cuts(data)


def check_all_cuts(data):
    graph = flatgraph.read(data)
    with Interpreter(data) as whole:
        inputs = verify.random_samples(whole.inputs, 3, table_sizes=(2,) * len(whole.inputs))
        expected = [whole.run(*sample) for sample in inputs]
    for cut in cuts.enumerate_cuts(graph):
        with Interpreter(cuts.head_bytes(graph, cut)) as head, Interpreter(cuts.tail_bytes(graph, cut)) as tail:
            for sample, outputs in zip(inputs, expected, strict=True):
                found = tail.run(*head.run(*sample))
                assert [array.tobytes() for array in found] == [array.tobytes() for array in outputs]


def with_other_gates(k):
    entry = k.Input((4, 5))
    return k.Model(entry, k.layers.Dense(2)(k.layers.LSTM(3, recurrent_activation="hard_sigmoid")(entry)))


def with_its_state(k):
    entry = k.Input((4, 5))
    return k.Model(entry, k.layers.Dense(2)(k.layers.Concatenate()(k.layers.LSTM(3, return_state=True)(entry))))


@pytest.mark.parametrize("build", [with_other_gates, with_its_state])
def test_what_the_operator_does_not_compute_is_unrolled(load_built, samples, build):
    model = load_built(build)

    assert fused_lstm.count(model) == 0
    assert FUSED not in {one.name for one in flatgraph.read(quantize.quantise(model, samples(model))).operators}


def test_an_operator_that_gives_something_else_is_not_used_and_that_is_said(load_built, samples, monkeypatch):
    model = load_built(stacked)
    monkeypatch.setattr(fused_lstm, "_TOLERANCE", -1.0)
    data = quantize.quantise(model, samples(model))

    assert FUSED not in {one.name for one in flatgraph.read(data).operators}
    (note,) = fused_lstm.unrolled_note(model, data)
    assert "unrolled" in note


def test_each_lstm_ends_a_layer_and_has_its_counterpart_in_float(load_built, samples):
    model = load_built(stacked)
    data = quantize.quantise(model, samples(model))
    named = {entry.layer for entry in layers.map_layers(model, data, samples(model)).operators}
    floats = flatgraph.read(quantize.unquantised(model, data))

    assert {"first", "second"} <= named
    assert [operator.name for operator in floats.operators].count(FUSED) == 2


def test_a_series_that_is_turned_round_keeps_its_scale_until_it_is_requantised(load_built, samples):
    def build(k):
        entry = k.Input((9, 6))
        turned = k.ops.flip(k.layers.Dense(4, activation="sigmoid")(entry), 1)
        return k.Model(entry, k.layers.Concatenate()([turned, 5 * k.layers.Dense(4)(entry)]))

    model = load_built(build)
    data = quantize.quantise(model, samples(model))
    graph = flatgraph.read(data)

    for operator in graph.operators:
        if operator.name == "REVERSE_V2":
            (before,), (after,) = graph.specs(operator.inputs[:1]), graph.specs(operator.outputs)
            assert (before.scale, before.zero_point) == (after.scale, after.zero_point)
    assert fidelity.measure(model, data, samples(model))[0].sqnr_db > 25
