"""What fewer bits lose, against the same figures computed directly."""

import numpy as np
import pytest
import tiny_models
from in_bits import received

from converters.payloads import precision
from converters.payloads.precision import Samples
from tflsplit.coding import precisions
from tflsplit.fidelity import MeasuredOn
from tflsplit.graph import cuts, flatgraph
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.meanings import Meaning
from tflsplit.graph.tensors import dequantise
from tflsplit.package import writing


def wide_model():
    """Thirty-two numbers, two dense layers of them, four scores."""
    random = np.random.default_rng(1)
    made = tiny_models.Builder()
    source = made.tensor("x", (1, 32), scale=0.02)
    for name, extent, scale in (("a", 32, 0.1), ("b", 32, 0.4), ("c", 4, 1.5)):
        before = 32
        weights = made.tensor(
            f"w{name}", (extent, before), scale=0.01, data=random.integers(-90, 90, (extent, before), np.int8)
        )
        source = made.dense(source, weights, name, extent, scale)
    return made.build([0], [source])


def stored(count, seed):
    return [(row[np.newaxis],) for row in np.random.default_rng(seed).integers(-128, 128, (count, 32), np.int8)]


MODEL = wide_model()
CALIBRATING, MEASURING = stored(20, 2), stored(30, 3)


def measured(tmp_path, samples, meaning=Meaning.LOGITS):
    graph = flatgraph.read(MODEL)
    found = cuts.enumerate_cuts(graph)
    data = precision.measure(MODEL, found, lambda cut: cuts.tail_bytes(graph, cut), samples, meaning)
    described = tiny_models.describe(MODEL)
    return precisions.of_package(writing.write(tmp_path / "p.tflsplit", described, MODEL, (), precisions=data)), graph


def test_the_figures_are_those_of_a_direct_computation(tmp_path):
    found, graph = measured(tmp_path, Samples(CALIBRATING, MEASURING, MeasuredOn.UNSEEN))

    assert {each.cut for each in found} == {"input", "op000", "op001"}
    assert any(0 < each.fidelity.top1_agreement < 1 for each in found)
    by_id = {cut.id: cut for cut in cuts.enumerate_cuts(graph)}
    for each in found:
        cut = by_id[each.cut]
        with Interpreter(MODEL, keeps_intermediates=True) as whole, Interpreter(cuts.tail_bytes(graph, cut)) as tail:
            expected, lossy = [], []
            for sample in MEASURING:
                expected.append(dequantise(whole.run(*sample)[0], whole.outputs[0]))
                boundary = whole.tensor(cut.tensors[0])
                lossy.append(dequantise(tail.run(received(boundary, each.levels[0]))[0], whole.outputs[0]))
        exact, near = np.concatenate(expected).astype(float), np.concatenate(lossy).astype(float)
        agreement = np.mean(exact.argmax(1) == near.argmax(1))
        sqnr_db = 10 * np.log10(np.sum((exact - exact.mean(0)) ** 2) / np.sum((exact - near) ** 2))
        assert each.fidelity.top1_agreement == pytest.approx(agreement)
        assert each.fidelity.sqnr_db == pytest.approx(sqnr_db, abs=0.01)
        assert (each.fidelity.samples, each.fidelity.measured_on) == (30, MeasuredOn.UNSEEN)


def test_more_bits_lose_less(tmp_path):
    found, _ = measured(tmp_path, Samples(CALIBRATING, MEASURING, MeasuredOn.UNSEEN))

    for cut in ("input", "op000", "op001"):
        lost = [each.fidelity.sqnr_db for each in found if each.cut == cut]
        assert lost == sorted(lost, reverse=True)


def test_a_model_that_came_quantised_is_judged_on_other_samples_than_its_levels_are_chosen_on(tmp_path):
    found, _ = measured(tmp_path, Samples(MEASURING, MEASURING, MeasuredOn.UNSEEN))

    assert {each.fidelity.samples for each in found} == {15}


def test_made_up_inputs_say_nothing_of_classes(tmp_path):
    found, _ = measured(tmp_path, Samples(CALIBRATING, MEASURING, MeasuredOn.SYNTHETIC))

    assert {each.fidelity.top1_agreement for each in found} == {None}
    assert all(each.fidelity.sqnr_db for each in found)


def test_without_samples_nothing_is_measured():
    graph = flatgraph.read(MODEL)
    found = cuts.enumerate_cuts(graph)

    assert (
        precision.measure(
            MODEL, found, lambda cut: cuts.tail_bytes(graph, cut), Samples((), (), MeasuredOn.UNSEEN), Meaning.LOGITS
        )
        is None
    )
