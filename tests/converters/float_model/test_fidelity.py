"""Int8 against float, a number for each output."""

import math

import numpy as np

from converters import quantize
from converters.float_model import fidelity


def test_classes_are_compared_by_their_first_and_the_rest_by_noise():
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    compared = fidelity.compare("class", scores, scores[:, ::-1])
    single = fidelity.compare("value", np.array([[3.0], [4.0]]), np.array([[3.0], [4.5]]))

    assert compared.top1_agreement == 0.0
    assert single.top1_agreement is None
    assert math.isclose(single.sqnr_db, 20.0)  # 25 of signal against 0.25 of error


def test_equal_outputs_have_no_noise():
    assert fidelity.compare("x", np.ones((2, 3)), np.ones((2, 3))).sqnr_db == math.inf


def test_each_output_of_a_model_is_measured_under_its_own_name(load_built, samples):
    def build(k):
        entry = k.Input((8,))
        return k.Model(
            entry, [k.layers.Dense(3, activation="softmax", name="z")(entry), k.layers.Dense(1, name="a")(entry)]
        )

    model = load_built(build)
    measured = fidelity.measure(model, quantize.quantise(model, samples(model)), samples(model))

    assert [(entry.output, entry.samples) for entry in measured] == [("z", 16), ("a", 16)]
    assert all(entry.sqnr_db > 25 for entry in measured)  # outputs swapped would be below 0
