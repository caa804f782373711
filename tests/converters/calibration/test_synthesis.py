"""Inputs made up for a model without data, and the preprocessing read off its statistics."""

import numpy as np
import pytest

from converters.calibration import batchnorm, synthesis
from converters.calibration.synthesis import Origin
from converters.loading import quiet
from tflsplit.inputs.preprocessing import NAMED


def trained_on(preprocessing):
    """A convolution and a normalisation that has seen photograph-like pictures, preprocessed so."""

    def build(k):
        entry = k.Input((32, 32, 3))
        x = k.layers.Conv2D(16, 3, name="conv")(entry)
        model = k.Model(
            entry, k.layers.GlobalAveragePooling2D()(k.layers.BatchNormalization(momentum=0.5, name="bn")(x))
        )
        for seed in range(20):
            pixels = synthesis.picture_noise(32, (32, 32, 3), np.random.default_rng(1000 + seed))
            model(NAMED[preprocessing].to_real(pixels), training=True)
        return model

    return build


@pytest.mark.parametrize("name", ["raw", "unit", "symmetric", "torch", "caffe"])
def test_the_preprocessing_a_model_was_trained_with_is_inferred(load_built, name):
    inferred = synthesis.infer_preprocessing(load_built(trained_on(name)))

    assert inferred.preprocessing.name == name
    assert "batch-normalisation statistics" in inferred.reason


def test_a_model_that_scales_pixels_itself_takes_them_raw(load_built):
    model = load_built(
        lambda k: k.Sequential([k.Input((8, 8, 3)), k.layers.Rescaling(1 / 255, name="scale"), k.layers.Flatten()])
    )
    inferred = synthesis.infer_preprocessing(model)

    assert inferred.preprocessing.name == "raw"
    assert "'scale'" in inferred.reason


def test_without_any_hint_unit_is_assumed_and_said(load_built):
    inferred = synthesis.infer_preprocessing(
        load_built(lambda k: k.Sequential([k.Input((8, 8, 3)), k.layers.Flatten()]))
    )

    assert (inferred.preprocessing.name, "commonest" in inferred.reason) == ("unit", True)


def test_distilled_inputs_fit_the_statistics_better_than_the_noise_they_began_as(load_built):
    model = load_built(trained_on("symmetric"))
    noise, _ = synthesis.synthesise(model, NAMED["symmetric"], distils=False)
    distilled, origin = synthesis.synthesise(model, NAMED["symmetric"])
    distance = batchnorm.distance(model)

    assert origin is Origin.DISTILLED
    assert distance(*distilled) < distance(*noise)
    assert distilled[0].min() >= -1.0
    assert distilled[0].max() <= 1.0


def test_a_model_without_trained_normalisation_gets_noise_over_the_range(load_built):
    model = load_built(
        lambda k: k.Sequential([k.Input((16, 16, 3)), k.layers.Conv2D(2, 3), k.layers.BatchNormalization()])
    )
    (array,), origin = synthesis.synthesise(model, NAMED["unit"])

    assert origin is Origin.NOISE
    assert (array.min(), array.max()) == (0.0, 1.0)


def test_two_syntheses_of_one_model_are_equal(load_built):
    model = load_built(trained_on("unit"))
    first, second = (synthesis.synthesise(model, NAMED["unit"])[0][0] for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_indices_stay_integers(load_built):
    model = load_built(lambda k: k.Sequential([k.Input((4,), dtype="int32"), k.layers.Embedding(8, 3)]))
    (array,), _ = synthesis.synthesise(model, NAMED["raw"])

    assert array.dtype == np.int32


def test_large_models_get_fewer_samples_and_steps_within_the_work_allowed():
    assert synthesis._affordable(10**6, 16) == (16, 24)
    assert synthesis._affordable(300 * 10**6, 16) == (16, 10)
    count, steps = synthesis._affordable(4 * 10**9, 16)

    assert count < 16
    assert steps >= 6


def test_a_teachable_machine_model_is_seen_to_want_symmetric_pixels(shared_data):
    from converters.loading import formats

    model = formats.load(shared_data / "teachable_machine_keras24.h5")

    assert synthesis.infer_preprocessing(model).preprocessing.name == "symmetric"


def test_descending_prints_nothing(load_built, capfd):
    model = load_built(trained_on("unit"))
    quiet.tensorflow()
    capfd.readouterr()
    synthesis.synthesise(model, NAMED["unit"])

    assert capfd.readouterr() == ("", "")
