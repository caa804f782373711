"""A gate and hedges by the calls of the root: what a user gets, and what is refused before anything begins."""

import memory_cloud
import pytest
import scored_models
from scored_models import INPUTS, SCORE, scores

import tflsplit
from broker.transport import memory
from tflsplit import bundle, errors
from tflsplit.api import gating
from tflsplit.graph.meanings import Meaning


@pytest.fixture
def scored(tmp_path):
    return scored_models.package(tmp_path)


def edge(package, network=None, **words):
    given = {"cut": "op000", "answer_here": SCORE} | words
    return tflsplit.Edge(package, network or memory.MemoryBroker(), deployment="d", device="n", **given)


def test_each_frame_gives_one_result_that_says_who_computed_it(scored):
    network, found = memory.MemoryBroker(), []
    with memory_cloud.cloud_for(scored, network), edge(scored, network, audit=0.5) as gated:
        summary = gated.run((INPUTS,), on_result=found.append)
    best, labels = scores(scored)

    assert sorted(result.sequence for result in found) == list(range(len(INPUTS)))
    assert {result.sequence for result in found if result.is_of_device} == {
        sequence for sequence in range(len(INPUTS)) if best[sequence] > SCORE
    }
    assert all(int(result.label) == labels[result.sequence] for result in found)
    assert summary.as_json()["gate"]["agreed"] == summary.as_json()["gate"]["audited"] > 0


def test_a_device_that_computes_all_hands_on_its_answers_at_once(scored):
    network, found = memory.MemoryBroker(), []
    with memory_cloud.cloud_for(scored, network), edge(scored, network, cut="output", answer_here=None) as whole:
        summary = whole.run((INPUTS,), on_result=found.append)

    assert [result.sequence for result in found] == list(range(len(INPUTS)))
    assert all(result.is_of_device for result in found)
    assert summary.answered_here == summary.results == len(INPUTS)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"cut": "output"}, "nothing is left for the cloud"),
        ({"answer_here": 1.5}, "between 0 and 1"),
        ({"answer_here": "150%"}, "between 0 and 1"),
        ({"answer_here": "surely"}, "a share, as 1% or 0.01"),
        ({"answer_here": None, "at_most": "3/min"}, "give answer_here as well"),
        ({"at_most": "3"}, "as 30/min"),
        ({"at_most": "0/min"}, "above 0"),
        ({"audit": 2}, "from 0 to 1"),
        ({"until": "ack"}, "give an audit of 0"),
        ({"hedge": 1.5}, "give adapt as well"),
    ],
)
def test_what_says_nothing_or_contradicts_itself_is_refused(scored, words, says):
    with pytest.raises(errors.SettingsError, match=says):
        edge(scored, **words)


def test_acknowledgements_do_where_nothing_is_audited(scored):
    network = memory.MemoryBroker()
    with memory_cloud.cloud_for(scored, network), edge(scored, network, until="ack", audit=0) as gated:
        summary = gated.run((INPUTS,))

    assert summary.results == len(INPUTS)


def test_a_bundle_and_a_model_without_scores_are_refused(scored, tmp_path):
    part = bundle.write(tmp_path / "part.tflsplit", scored, "edge", ("op000",))
    with pytest.raises(errors.PackageError, match="without the whole model"):
        edge(part)
    plain = scored_models.package(tmp_path, "plain", meanings=(Meaning.VALUES,))
    with pytest.raises(errors.SettingsError, match="no scores of classes"):
        edge(plain)


def test_terms_as_people_write_them():
    found = gating.terms(0.9, "30/min", "5%")

    assert (found.score, found.at_most.count, found.at_most.per_s, found.audit) == (0.9, 30, 60.0, 0.05)
    assert gating.terms(None) is None
