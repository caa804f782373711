"""From a file to named cuts."""

import model_metadata
import numpy as np
import pytest
import trained_models
from ai_edge_litert import schema_py_generated as schema

import tflsplit
from converters import convert
from converters.calibration import inference
from tflsplit import errors
from tflsplit.cards import names
from tflsplit.coding import input_codec
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import quantise
from tflsplit.inputs.preprocessing import NAMED


def test_the_name_of_the_last_softmax_stands_for_the_output(builder, tmp_path, in_this_process):
    x = builder.tensor("x", (1, 4))
    a = builder.add(x, x, "a", (1, 4))
    soft = builder.tensor("soft", (1, 4), scale=1 / 256, zero_point=-128)
    y = builder.tensor("y", (1, 4), scale=1 / 256, kind="UINT8")
    builder.operator("SOFTMAX", (a,), (soft,), schema.SoftmaxOptionsT(), options_type="SoftmaxOptions", version=2)
    builder.operator("QUANTIZE", (soft,), (y,), version=2)
    (tmp_path / "m.tflite").write_bytes(builder.build((x,), (y,)))

    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit")

    assert [cut.id for cut in made.cuts] == ["input", "op000", "output"]
    assert made.cut("soft").id == "output"


def test_a_look_that_fails_is_a_warning_with_its_reason(keras, saved, tmp_path, in_this_process, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no such axis")

    monkeypatch.setattr(inference, "infer", broken)
    entry = keras.Input((8, 8, 3))
    path = saved(keras.Model(entry, keras.layers.Dense(2)(keras.layers.Flatten()(entry))), "m.keras")
    made = tflsplit.convert(path, tmp_path / "m.tflsplit", quick=True)

    assert any("how it takes pixels could not be looked at (no such axis)" in one for one in _warnings(made))
    assert any("preprocessing is unknown" in one for one in _warnings(made))


def _warnings(made):
    return made.manifest.calibration.warnings


def test_a_lambda_that_scales_is_replaced_by_word_of_mouth(keras, saved, tmp_path, in_this_process):
    entry = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda x: x / 127.5 - 1.0, output_shape=(8, 8, 3), name="scaling")(entry)
    path = saved(keras.Model(entry, keras.layers.Dense(2)(keras.layers.Flatten()(x))), "m.h5")
    made = tflsplit.convert(path, tmp_path / "m.tflsplit", quick=True, replace="scaling=0.00784313725,-1")

    assert made.manifest.preprocessing.name == "raw"
    assert "layer 'scaling' became x * 0.00784314 + -1" in made.manifest.rewrites


def test_the_model_file_runs_by_the_names_of_the_keras_model(keras, saved, tmp_path, in_this_process):
    picture = keras.Input((8, 8, 3), name="picture")
    flat = keras.layers.Flatten()(picture)
    path = saved(keras.Model(picture, keras.layers.Dense(3, activation="softmax", name="scores")(flat)), "m.keras")
    options = convert.Options(labels=("a", "b", "c"), preprocessing=NAMED["unit"], quick=True)
    made = convert.convert(path, tmp_path / "m.tflsplit", options)
    root = model_metadata.read(made.model_bytes())

    assert names.of_graph(made.graph) == names.Names(("picture",), ("scores",))
    assert model_metadata.files(made.model_bytes()) == {"labels.txt": "a\nb\nc\n"}
    assert root.tables(3)[0].tables(2)[0].tables(4)[0].table(1).floats(1) == [255.0]
    assert made.manifest.meanings == (Meaning.SOFTMAX,)


def _int16_pictures(builder):
    x = builder.tensor("x", (1, 4, 4, 3), scale=1 / 32767, kind="INT16")
    y = builder.tensor("y", (1, 4, 4, 3), scale=1 / 32767, kind="INT16")
    builder.operator("RELU", (x,), (y,), version=2)
    return builder.build((x,), (y,))


def test_pictures_of_int16_are_not_guessed_at(builder, tmp_path, in_this_process):
    (tmp_path / "m.tflite").write_bytes(_int16_pictures(builder))
    with pytest.raises(errors.SettingsError, match=r"its pictures are int16.*--preprocess unit"):
        tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit")


def test_pictures_of_int16_are_right_where_their_preprocessing_is_said(builder, tmp_path, in_this_process):
    (tmp_path / "m.tflite").write_bytes(_int16_pictures(builder))
    made = tflsplit.convert(tmp_path / "m.tflite", tmp_path / "m.tflsplit", preprocessing="unit")

    assert tflsplit.verify(made.path).is_bit_exact
    white = made.manifest.preprocessing.to_real(np.full((1, 4, 4, 3), 255, np.uint8))
    assert quantise(white, made.manifest.inputs[0]).tolist() == np.full((1, 4, 4, 3), 32767).tolist()


def test_a_package_whose_preprocessing_is_unknown_takes_real_values_and_refuses_pixels(
    keras, saved, tmp_path, in_this_process
):
    path = saved(trained_models.build(keras, "unit", normalises=False), "m.keras")
    pixels = trained_models.crops(20)
    with pytest.raises(errors.DataError, match=r"takes pixels is unknown; say it .*--preprocess \(raw, unit"):
        tflsplit.convert(path, tmp_path / "m.tflsplit", calibration=pixels)
    made = tflsplit.convert(path, tmp_path / "m.tflsplit", calibration=(pixels / 255).astype(np.float32))

    assert made.manifest.preprocessing is None
    assert any("takes real values only" in one and "--preprocess" in one for one in _warnings(made))
    with pytest.raises(errors.DataError, match="preprocessing not stated"):
        input_codec.picture_input(made.manifest)


def test_a_stated_preprocessing_that_scales_twice_is_warned_of(keras, saved, tmp_path, in_this_process):
    path = saved(trained_models.build(keras, inside="x / 255", normalises=False), "m.keras")
    pixels = trained_models.crops(20)
    made = tflsplit.convert(path, tmp_path / "m.tflsplit", calibration=pixels, preprocessing="unit")

    assert any("'unit' is stated, the model looks made for 'raw'" in one for one in _warnings(made))


def test_fidelity_is_measured_on_samples_that_calibration_did_not_see(keras, saved, tmp_path, in_this_process):
    path = saved(trained_models.build(keras, "unit"), "m.keras")
    many, few, made_up = (
        tflsplit.convert(path, tmp_path / name, calibration=pixels, preprocessing="unit", quick=True)
        for name, pixels in (
            ("many.tflsplit", trained_models.crops(60)),
            ("few.tflsplit", trained_models.crops(20)),
            ("none.tflsplit", None),
        )
    )

    assert [(made.manifest.calibration.samples, *_measured(made)) for made in (many, few, made_up)] == [
        (48, 12, "unseen"),
        (20, 20, "calibration"),
        (16, 16, "synthetic"),
    ]
    assert many.manifest.fidelity[0].top1_agreement > 0.5
    assert made_up.manifest.fidelity[0].top1_agreement is None


def _measured(made):
    (found,) = made.manifest.fidelity
    return found.samples, found.measured_on.value
