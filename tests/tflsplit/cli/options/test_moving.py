"""What a cut that moves and a gate cannot do is refused in one line, before anybody is spoken to."""

import pytest
import tiny_models
from invented_plans import write_plan

from tflsplit.graph.meanings import Meaning

NOBODY = ("--broker", "mqtt://127.0.0.1:1", "--deployment", "d", "--device", "n")


@pytest.fixture
def refused(typed, source):
    return lambda package, *words: typed("edge", package.path, *NOBODY, "--source", source, *words).refusal()


@pytest.fixture
def plain(tmp_path):
    """Its results are values, none of which is a score."""
    meanings = {"meanings": (Meaning.VALUES,)}
    return tiny_models.write_package(tmp_path / "plain.tflsplit", tiny_models.residual_model(), **meanings)


@pytest.mark.parametrize("adapt", [(), ("--adapt",)], ids=["stays", "moves"])
def test_a_gate_on_a_model_without_scores(refused, plain, tmp_path, adapt):
    planned = ("--plan", write_plan(tmp_path, plain)) if adapt else ("--cut", "op000")

    assert "no scores of classes" in refused(plain, *planned, *adapt, "--answer-here", "0.9")


def test_a_cut_that_moves_needs_results_and_not_acknowledgements(refused, tiny_package, tmp_path):
    plan = ("--plan", write_plan(tmp_path, tiny_package))

    assert "adapt until the result" in refused(tiny_package, *plan, "--adapt", "--until", "ack")
