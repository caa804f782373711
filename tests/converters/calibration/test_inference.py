"""How a model takes pixels, measured on models of which it is known; what cannot be told is called unknown."""

import pathlib
from importlib import resources

import numpy as np
import pytest
import trained_models

from converters import unquantised
from converters.calibration import inference
from converters.calibration.inference import Measure
from converters.loading import formats, quiet
from tflsplit.graph.tensors import TensorSpec
from tflsplit.inputs.preprocessing import NAMED, Preprocessing

INSIDE = {inside: way for inside, way in trained_models.INSIDE.items() if way}


def name_of(inferred):
    return inferred.preprocessing and inferred.preprocessing.name


@pytest.mark.parametrize("way", ["raw", "unit", "symmetric", "torch", "caffe"])
def test_the_statistics_of_batch_normalisations_tell_how_pixels_were_taken(load_built, way):
    inferred = inference.infer(load_built(lambda k: trained_models.build(k, way)))

    assert (name_of(inferred), inferred.measure) == (way, Measure.STATISTICS)


@pytest.mark.parametrize("way", ["raw", "symmetric"])
def test_they_tell_it_of_digits_too_though_the_pictures_that_measure_are_photographs(load_built, way):
    model = load_built(lambda k: trained_models.build(k, way, pixels=trained_models.digits()))

    assert name_of(inference.infer(model)) == way


def test_they_tell_it_of_the_demonstration():
    model = formats.load(pathlib.Path(str(resources.files("tflsplit") / "demo" / "digits.h5")))

    assert name_of(inference.infer(model)) == "unit"


@pytest.mark.parametrize("normalises", [True, False])
@pytest.mark.parametrize("inside", INSIDE)
def test_scaling_inside_the_model_is_found_wherever_it_is(load_built, inside, normalises):
    way = INSIDE[inside]
    model = load_built(lambda k: trained_models.build(k, way, inside=inside, normalises=normalises))

    assert name_of(inference.infer(model)) == way


@pytest.mark.parametrize("way", ["raw", "unit", "symmetric", "torch", "caffe"])
def test_a_model_that_shows_nothing_is_unknown(load_built, way):
    inferred = inference.infer(load_built(lambda k: trained_models.build(k, way, normalises=False)))

    assert inferred.preprocessing is None
    assert "fit several ways" in inferred.reason


def test_statistics_far_from_every_way_are_unknown(load_built):
    noise = np.random.default_rng(0).integers(0, 4, (64, 32, 32, 3)).astype(np.uint8)
    inferred = inference.infer(load_built(lambda k: trained_models.build(k, "raw", pixels=noise)))

    assert inferred.preprocessing is None
    assert "far is above 0.45" in inferred.reason


@pytest.mark.parametrize("inside", ["nothing", "Rescaling"])
def test_saved_models_are_measured_alike(keras, tmp_path, inside):
    way = INSIDE.get(inside, "symmetric")
    with quiet.silenced():
        trained_models.build(keras, way, inside=inside).export(tmp_path / "saved", verbose=False)

    assert name_of(inference.infer(formats.load(tmp_path / "saved"))) == way


def test_a_float_tflite_whose_normalisations_were_folded_is_told_where_it_takes_plain_pixels(shared_data):
    path = shared_data / "models" / "mlc_resnet_float.tflite"
    inferred = inference.infer(unquantised.load(path, path.read_bytes()))

    assert (name_of(inferred), inferred.measure) == ("raw", Measure.WEIGHTS)


def test_a_teachable_machine_model_is_seen_to_want_symmetric_pixels(shared_data):
    model = formats.load(shared_data / "teachable_machine_keras24.h5")

    assert name_of(inference.infer(model)) == "symmetric"


def test_a_map_of_a_spoken_word_is_no_picture(load_built):
    inferred = inference.infer(
        load_built(lambda k: k.Sequential([k.Input((49, 10, 1)), k.layers.Flatten(), k.layers.Dense(2)]))
    )

    assert "takes no pictures" in inferred.reason


STORED = {
    "0..255": (1.0, -128, "as-stored"),
    "0..1": (1 / 255, -128, "as-stored"),
    "-1..1 of 127.5": (1 / 127.5, -1, "as-stored"),
    "-1..1 of 128": (1 / 128, 0, "as-stored"),
    "0..0.98, as of data without white": (0.98 / 255, -128, "unit"),
    "torch": (4.758 / 255, -14, "torch"),
    "MFCCs": (0.5847, 83, None),
}


@pytest.mark.parametrize(("scale", "zero_point", "way"), STORED.values(), ids=STORED)
def test_a_quantised_input_tells_by_the_range_that_it_can_hold(scale, zero_point, way):
    inferred = inference.of_stored(TensorSpec("x", (1, 8, 8, 3), "int8", scale, zero_point))

    assert name_of(inferred) == way


def test_two_ways_to_write_one_preprocessing_are_alike():
    assert inference.are_alike(Preprocessing("custom", (1 / 128,), (-1.0,)), NAMED["symmetric"])
    assert not inference.are_alike(NAMED["unit"], NAMED["symmetric"])
    assert not inference.are_alike(NAMED["raw"], NAMED["caffe"])
