"""Inputs made up for a model without data."""

import numpy as np
import trained_models

from converters.calibration import first_layer, inference, synthesis
from converters.calibration.synthesis import Origin
from converters.loading import quiet
from tflsplit.inputs.preprocessing import NAMED


def trained(way):
    return lambda keras: trained_models.build(keras, way)


def test_distilled_inputs_fit_the_statistics_better_than_the_noise_they_began_as(load_built):
    model = load_built(trained("symmetric"))
    noise, _ = synthesis.synthesise(model, NAMED["symmetric"], distils=False)
    distilled, origin = synthesis.synthesise(model, NAMED["symmetric"])
    look = first_layer.look_at(model)

    def distance(arrays):
        return inference.distance(look.at(arrays).normalisations)

    assert origin is Origin.DISTILLED
    assert distance(distilled) < distance(noise)
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
    model = load_built(trained("unit"))
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


def test_descending_prints_nothing(load_built, capfd):
    model = load_built(trained("unit"))
    quiet.tensorflow()
    capfd.readouterr()
    synthesis.synthesise(model, NAMED["unit"])

    assert capfd.readouterr() == ("", "")
