"""LSTM layers become one operator each, with the float model's results."""

import copy

import numpy as np
import pytest

from converters import convert, fused_lstm, quantize
from converters.float_model import fidelity, layers
from converters.loading import quiet
from tflsplit import errors
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import dequantise, quantise
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
    ("build", "count"),
    [
        (two_inputs, 2),
        (of_words, 1),
        *(pytest.param(*each, marks=pytest.mark.sweep) for each in ((stacked, 2), (both_ways, 4), (called_twice, 2))),
    ],
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


def test_a_series_costs_no_more_to_trace_for_being_long(load_built, either_keras):
    def operations(steps):
        model = load_built(lambda k: k.Sequential([k.Input((steps, 4)), k.layers.LSTM(3)]), either_keras)
        return len(model.concrete_function().graph.get_operations())

    assert operations(90) == operations(9) < 100


def test_an_lstm_with_a_mask_is_unrolled(load_built):
    def build(k):
        entry = k.Input((9,), dtype="int32")
        embedded = k.layers.Embedding(20, 8, mask_zero=True)(entry)
        return k.Model(entry, k.layers.Dense(3)(k.layers.LSTM(8)(embedded)))

    model = load_built(build)
    kinds = {operation.type for operation in model.concrete_function().graph.get_operations()}

    assert fused_lstm.count(model) == 0
    assert not {"While", "StatelessWhile"} & kinds


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
    assert fidelity.measure(model, data, samples(model))[0].sqnr_db > 15
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


def stateful(k):
    entry = k.Input(batch_shape=(1, 5, 6))
    return k.Model(entry, k.layers.Dense(3)(k.layers.LSTM(8, stateful=True)(entry)))


def test_an_lstm_that_keeps_its_state_is_the_layer_on_the_whole_stream(in_this_process, saved, either_keras, tmp_path):
    with quiet.silenced():
        either_keras.utils.set_random_seed(7)
        model = stateful(either_keras)
        file = saved(model, "m.keras" if either_keras.__name__ == "keras" else "m.h5")
        steps = np.random.default_rng(0).random((24, 5, 6), np.float32)
        expected = np.concatenate([np.asarray(model(step[None])) for step in steps])
    made = convert.convert(
        file, tmp_path / "m.tflsplit", convert.Options(calibration=(steps,), stateful=True, pairs="none")
    )
    spec, result = made.manifest.inputs[0], made.manifest.outputs[0]
    with Interpreter(made.model_bytes()) as opened:
        run = opened.stream(is_stateful=True)
        found = np.concatenate([dequantise(run(quantise(step[None], spec))[0], result) for step in steps])

    assert made.manifest.is_stateful
    assert verify.verify(made, made.cuts, [(quantise(step[None], spec),) for step in steps]).holds
    error_db = 10 * np.log10(np.var(expected) / np.var(found - expected))
    assert error_db > 30, error_db  # with nothing kept, 9
    with pytest.raises(errors.ModelError, match=r"keeps values .* \(an LSTM: or convert with --stateful\)"):
        convert.convert(file, tmp_path / "n.tflsplit", convert.Options(calibration=(steps,)))


def test_a_model_of_which_a_part_would_forget_is_refused(in_this_process, saved, keras, tmp_path):
    with quiet.silenced():
        entry = keras.Input((4, 5))
        joined = [keras.layers.LSTM(3)(entry), keras.layers.GRU(3, name="forgets")(entry)]
        file = saved(keras.Model(entry, keras.layers.Concatenate()(joined)), "m.keras")
    with pytest.raises(errors.ModelError, match=r"1 recurrent layer \(forgets\) became single steps"):
        convert.convert(file, tmp_path / "m.tflsplit", convert.Options(stateful=True, quick=True))


def test_a_model_that_keeps_nothing_is_refused(in_this_process, residual_model, tmp_path):
    file = tmp_path / "m.tflite"
    file.write_bytes(residual_model)
    with pytest.raises(errors.ModelError, match="--stateful, but no operator of the int8 model keeps anything"):
        convert.convert(file, tmp_path / "m.tflsplit", convert.Options(stateful=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda operator, scaled: scaled(operator.outputs[0], 1.1), "for its result a scale of 0.00856"),
        (lambda operator, scaled: scaled(operator.inputs[18], 0.5), "for its state a scale of 0.00389"),
        (lambda operator, scaled: scaled(operator.inputs[19], 2.0**-6), "finer than its tanh takes"),
    ],
)
def test_scales_that_an_lstm_does_not_compute_in_are_warned_of(in_this_process, shared_data, tmp_path, change, words):
    def scaled(index, factor):
        tensor = source.subgraphs[0].tensors[index]
        tensor.quantization = copy.copy(tensor.quantization)
        tensor.quantization.scale = [float(tensor.quantization.scale[0]) * factor]

    right = shared_data / "models" / "coral_lstm_mnist.tflite"
    graph = flatgraph.read(right.read_bytes())
    source = graph.source
    (operator,) = [
        made for made, one in zip(source.subgraphs[0].operators, graph.operators, strict=True) if one.name == FUSED
    ]
    change(operator, scaled)
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(flatgraph.pack(source))
    found = [
        convert.convert(file, tmp_path / f"{file.stem}.tflsplit", convert.Options(pairs="none")).manifest.calibration
        for file in (right, wrong)
    ]

    assert found[0].warnings == ()
    (warning,) = found[1].warnings
    assert words in warning
