"""`--target coral` from a Keras model to a package, beside `--target cpu`."""

import pathlib

import numpy as np
import pytest

from converters import convert, options
from converters.edgetpu import heads, rules
from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.package import reading, verify

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def convert_built(saved, keras, tmp_path, monkeypatch):
    """Builds, saves and converts a model for a target; no compiler is there."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def convert_built(build, target, **options):
        keras.utils.set_random_seed(3)
        path = saved(build(keras.layers, keras), "m.keras")
        chosen = convert.Options(target=target, replaces_existing=True, **options)
        return convert.convert(path, tmp_path / f"{target}.tflsplit", chosen)

    return convert_built


def classifier(layers, keras):
    x = entry = keras.Input((12, 12, 3))
    x = layers.Conv2D(6, 3, strides=2, activation="swish", name="conv")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dense(8, activation="relu", bias_initializer="normal", name="hidden")(x)
    return keras.Model(entry, layers.Dense(4, activation="softmax", name="scores")(x))


def sequence(layers, keras):
    x = entry = keras.Input((6, 8))
    x = layers.Dense(5, activation="relu", bias_initializer="normal", name="rows")(x)
    return keras.Model(entry, layers.Dense(3, name="last")(layers.Flatten(name="flat")(x)))


def with_leaky_relu(layers, keras):
    x = entry = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv")(x)
    x = layers.LeakyReLU(name="leaky")(x)
    return keras.Model(entry, layers.Dense(2, name="last")(layers.Flatten()(x)))


def recurrent(layers, keras):
    entry = keras.Input((5, 4))
    return keras.Model(entry, layers.Dense(2)(layers.GRU(3, name="memory")(entry)))


def with_lstm(layers, keras):
    entry = keras.Input((5, 4))
    return keras.Model(entry, layers.Dense(2)(layers.LSTM(3, name="memory")(entry)))


def scales_of_dense(made):
    graph = made.graph
    return [
        graph.tensors[operator.inputs[1]].scale_count
        for operator in graph.operators
        if operator.name == "FULLY_CONNECTED"
    ]


def unmapped(made):
    return rules.first_unmapped(rules.judge(made.graph, {cut.after_operator: cut.layer for cut in made.cuts}))


def check_bit_exact(made):
    samples = verify.random_samples(made.manifest.inputs, 8)
    assert verify.verify(made, made.cuts, samples).is_bit_exact


def test_both_targets_are_bit_exact_and_differ_in_dense_scales_whose_cost_is_told(convert_built):
    cpu, coral = convert_built(classifier, "cpu"), convert_built(classifier, "coral")

    check_bit_exact(cpu)
    check_bit_exact(coral)
    assert (scales_of_dense(cpu), scales_of_dense(coral)) == ([8, 4], [1, 1])
    assert unmapped(coral) is None
    assert "one scale" not in str(unmapped(cpu))
    assert "scales, one a channel" in unmapped(cpu).reason
    assert coral.manifest.fidelity_cpu == cpu.manifest.fidelity
    assert cpu.manifest.fidelity_cpu == ()


def test_without_a_compiler_the_package_is_made_and_every_head_says_so(convert_built):
    made = reading.open_package(convert_built(classifier, "coral").path)

    assert {entry.reason for entry in made.manifest.compilations.values()} == {heads.NO_COMPILER}
    assert set(made.manifest.compilations) == {cut.id for cut in heads.default_cuts(made)}


def test_heads_are_compiled_while_converting_where_there_is_a_compiler(convert_built, command, runs, monkeypatch):
    monkeypatch.setenv("EDGETPU_CASE", "whole")
    made = convert_built(classifier, "coral", compiler=command)

    assert {entry.status for entry in made.manifest.compilations.values()} == {"compiled"}
    assert made.file(made.cut("mean"), "head_edgetpu")


def test_dense_on_a_sequence_maps_after_an_exact_rewrite_that_is_told(convert_built):
    made = convert_built(sequence, "coral")

    assert unmapped(made) is None
    assert "FULLY_CONNECTED on 1x6x8" in made.manifest.rewrites[0]
    assert "bit-exact" in made.manifest.rewrites[0]
    assert made.cut("rows").boundary[0].elements == 30
    check_bit_exact(made)
    assert "dense layer on 3-D" in unmapped(convert_built(sequence, "cpu")).reason


def test_the_cut_before_what_does_not_map_has_a_name_and_a_pair(convert_built):
    made = convert_built(with_leaky_relu, "coral", split_at=("edgetpu",))
    cut = made.cut("edgetpu")

    assert cut.layer == "conv"
    assert made.file(cut, "head")
    assert rules.first_unmapped(rules.judge(flatgraph.read(made.head_bytes(cut)))) is None
    assert unmapped(made).layer == "leaky"
    check_bit_exact(made)


def test_the_other_target_can_cut_there_too(convert_built):
    made = convert_built(with_leaky_relu, "cpu", split_at=("edgetpu",))

    assert made.cut("edgetpu").layer == "conv"
    assert made.manifest.compilations == {}


def test_a_recurrent_layer_is_named_with_what_to_do(convert_built):
    first = unmapped(convert_built(recurrent, "coral", quick=True))

    assert first.op == "UNPACK"
    assert "recurrent layer steps through time" in first.reason


def test_an_lstm_maps(convert_built):
    made = convert_built(with_lstm, "coral", quick=True)

    assert unmapped(made) is None
    check_bit_exact(made)


def test_uint8_in_and_out_maps(convert_built):
    made = convert_built(classifier, "coral", io="uint8", quick=True)

    assert unmapped(made) is None
    assert made.manifest.inputs[0].dtype == "uint8"


def test_a_model_whose_first_operator_does_not_map_has_no_such_cut(builder, tmp_path: pathlib.Path):
    x, y = builder.tensor("x", (1, 4)), builder.tensor("y", (1, 4))
    builder.operator("HARD_SWISH", (x,), (y,))
    z = builder.add(y, y, "z", (1, 4))
    (tmp_path / "m.tflite").write_bytes(builder.build((x,), (z,)))
    with pytest.raises(errors.CutError, match=r"operator 0 \(HARD_SWISH\) does not map: .*use ReLU6"):
        convert.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit", convert.Options(split_at=("edgetpu",)))


def test_a_compiled_file_is_refused_in_one_line(shared_data, tmp_path: pathlib.Path):
    source = shared_data / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
    for target in options.TARGETS:
        with pytest.raises(errors.ModelError, match="compiled for the Edge TPU already"):
            convert.convert(source, tmp_path / "m.tflsplit", convert.Options(target=target))


def test_a_compiler_without_its_target_is_refused():
    with pytest.raises(errors.SettingsError, match="--target coral"):
        convert.Options(compiler="edgetpu_compiler")


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("name", "first"),
    [("MobileNetV2", None), ("EfficientNetB0", None), ("ResNet50", None), ("MobileNetV3Small", "HARD_SWISH")],
)
def test_models_of_keras_are_judged(convert_built, name, first):
    """Swish of EfficientNet is LOGISTIC and MUL, which map; the hard swish of MobileNetV3 is what does not."""

    def build(_, keras):
        return getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)

    made = convert_built(build, "coral", quick=True)
    found = unmapped(made)

    assert (found.op if found else None) == first, found
    if name == "EfficientNetB0":
        names = {operator.name for operator in made.graph.operators}
        assert {"LOGISTIC", "MUL"} <= names
    assert np.all([entry.maps or entry.reason for entry in rules.judge(made.graph)])
