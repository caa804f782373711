"""Int8 against float, a number for each output."""

import math

import numpy as np
import pytest

from converters import quantize
from converters.float_model import fidelity
from tflsplit.fidelity import Fidelity, MeasuredOn
from tflsplit.graph.meanings import Meaning


def test_classes_are_compared_by_their_first_and_the_rest_by_noise():
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    compared = fidelity.compare("class", scores, scores[:, ::-1], Meaning.LOGITS)
    single = fidelity.compare("value", np.array([[3.0], [4.0]]), np.array([[3.0], [4.5]]), Meaning.VALUES)

    assert compared.top1_agreement == 0.0
    assert single.top1_agreement is None
    # 0.5 of signal, which varies around 3.5, against 0.25 of error
    assert math.isclose(single.sqnr_db, 10 * math.log10(2))


@pytest.mark.parametrize(
    ("meaning", "found", "agreement"),
    [
        (Meaning.SIGMOID, [[0.6], [0.4], [0.2]], 2 / 3),
        (Meaning.MULTI_LABEL, [[0.9, 0.4], [0.1, 0.6], [0.9, 0.1]], 1 / 3),
        (Meaning.SOFTMAX, [[0.9, 0.4], [0.1, 0.6], [0.9, 0.1]], 2 / 3),
        (Meaning.VALUES, [[0.9, 0.4], [0.1, 0.6], [0.9, 0.1]], None),
    ],
)
def test_two_answers_agree_if_they_say_the_same(meaning, found, agreement):
    floats = [[0.6], [0.6], [0.4]] if meaning is Meaning.SIGMOID else [[0.9, 0.4], [0.6, 0.6], [0.9, 0.6]]
    measured = fidelity.compare("x", np.array(floats), np.array(found), meaning)
    assert measured.top1_agreement == (None if agreement is None else pytest.approx(agreement))


def test_scores_that_boxes_round_to_nothing_are_what_an_output_keeps():
    values = np.random.default_rng(0).uniform(0, 1, (4, 6, 50))
    values[:, :4] *= 640
    found = np.rint(values / 2.5) * 2.5

    assert fidelity.compare("x", values, found, Meaning.VALUES).sqnr_db < 0
    assert fidelity.compare("x", values[:, :4], found[:, :4], Meaning.VALUES).sqnr_db > 40


def test_equal_outputs_have_no_noise():
    varying = np.arange(6.0).reshape(2, 3)

    assert fidelity.compare("x", varying, varying, Meaning.VALUES).sqnr_db == math.inf


def test_a_level_that_is_always_the_same_is_no_signal():
    varying = np.random.default_rng(0).normal(size=(8, 3))
    noisy = varying + 0.1

    assert math.isclose(
        fidelity.compare("x", varying + 100, noisy + 100, Meaning.VALUES).sqnr_db,
        fidelity.compare("x", varying, noisy, Meaning.VALUES).sqnr_db,
    )
    assert fidelity.compare("x", np.full((8, 3), 0.25), np.full((8, 3), 0.2), Meaning.VALUES).sqnr_db is None


def test_made_up_inputs_claim_no_agreement_of_classes():
    scores = np.array([[0.1, 0.9], [0.8, 0.2]])
    compared = fidelity.compare("class", scores, scores + 0.01, Meaning.LOGITS)
    (seen,), (made_up,) = (fidelity.recorded([compared], kind) for kind in (MeasuredOn.UNSEEN, MeasuredOn.SYNTHETIC))

    assert seen.closeness.startswith("agrees with float in 100.0%")
    assert seen.closeness.endswith("on 2 samples that calibration did not see")
    assert made_up.top1_agreement is None
    assert made_up.closeness.endswith("on 2 synthetic inputs")


FAR = {
    "classes": Fidelity("z", 40, MeasuredOn.UNSEEN, 0.9, 30.0),
    "values": Fidelity("z", 40, MeasuredOn.CALIBRATION, None, 5.0),
}


@pytest.mark.parametrize("entry", FAR.values(), ids=FAR)
def test_what_is_far_from_float_is_warned_of_with_what_helps(entry):
    (line,) = fidelity.warnings([entry], has_float_tails=False)
    (beside_float_tails,) = fidelity.warnings([entry], has_float_tails=True)
    assert fidelity.warnings([entry], has_float_tails=False, worst=lambda: "op7") == (line, "where int8 loses: op7")

    assert all(words in line for words in ("other calibration data", "--tail float32", "inspect PKG --errors"))
    assert "--tail float32" not in beside_float_tails
    assert "a cut before this one" in beside_float_tails


def test_what_is_near_float_is_not():
    near = Fidelity("z", 40, MeasuredOn.UNSEEN, 0.99, 30.0)
    unvarying = Fidelity("z", 1, MeasuredOn.CALIBRATION, None, None)

    assert fidelity.warnings([near, unvarying], has_float_tails=False) == ()


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
