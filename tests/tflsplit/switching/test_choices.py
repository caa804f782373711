"""What a device may choose between, and what each costs now."""

import pytest

from tests.support import invented
from tests.tflsplit.switching import tables
from tflsplit import errors
from tflsplit.planning import candidates, network, planfile
from tflsplit.switching import choices


def test_latency_is_the_sum_of_its_parts():
    second = tables.choices()[1]
    now = tables.present(mbit=1.0, edge_slower=2.0, cloud_slower=3.0, cloud_wait_s=0.005)

    assert choices.latency_s(second, now) == pytest.approx(0.042 + 0.256 + 0.04 + 0.005 + 0.075)


def test_what_is_local_needs_no_link():
    assert choices.latency_s(tables.choices()[-1], tables.present(mbit=1e-6)) == tables.WHOLE_S


def test_candidates_of_a_plan_become_choices():
    cuts = invented.cuts([1000, 400, 100, 10])
    edge, cloud = invented.edge(cuts, [0, 10, 20, 40]), invented.cloud(cuts, [8, 6, 4, 0])
    found = choices.of_candidates(candidates.gather(cuts, edge, cloud))

    assert [each.id for each in found] == [cut.id for cut in cuts]
    assert [each.rest_s for each in found] == pytest.approx([0.04, 0.03, 0.02, 0.0])
    assert [each.is_local for each in found] == [False, False, False, True]
    assert found[1].wire_bytes == network.wire_bytes(network.frame_bytes(cuts[1].boundary, 400))


def test_only_what_is_ever_the_best_is_worth_having():
    given = tables.choices()
    worse = choices.Choice("op030", 0.05, 40_000, 0.03, 0.065)

    assert choices.worth_having([*given, worse]) == given


def plan(*listed, **changes):
    given = {"input_codec": None, "candidates": listed} | changes
    fixed = {"layer": None, "rate_fps": None, "window": 8, "reason": ""}
    return planfile.Plan("d" * 64, "model", "model.tflsplit", "op000", **fixed, **given)


def told(cut, edge_s, head_s, cloud_s, wire_bytes=900):
    return {
        "cut": cut,
        "edge_s": edge_s,
        "head_s": head_s,
        "cloud_s": cloud_s,
        "wire_bytes": wire_bytes,
        "load_s": 0.1,
        "exact": True,
    }


def test_a_plans_candidates_become_the_same_choices():
    found = choices.of_plan(
        plan(told("input", 0.01, 0.0, 0.03), told("op000", 0.03, 0.02, 0.02), told("output", 0.07, 0.06, 0.0))
    )

    assert [each.rest_s for each in found] == pytest.approx([0.07, 0.04, 0.0])
    assert [each.wire_bytes for each in found] == [900, 900, 0]
    assert {each.load_s for each in found} == {0.0}


def test_on_an_accelerator_a_head_has_to_be_loaded_and_the_input_has_none():
    listed = (told("input", 0.01, 0.0, 0.03), told("op000", 0.03, 0.02, 0.02), told("output", 0.07, 0.06, 0.0))

    assert [each.load_s for each in choices.of_plan(plan(*listed), "coral")] == [0.0, 0.1, 0.1]


def test_pictures_as_they_are_and_as_jpeg_are_choices_of_their_own():
    forms = [{**told("input", 0.01, 0.0, 0.03), "input_codec": codec} for codec in ("int8", "raw", "jpeg:75")]
    found = choices.of_plan(plan(*forms, told("output", 0.07, 0.06, 0.0)))

    assert [each.id for each in found] == ["input", "input:raw", "input:jpeg:75", "output"]
    assert [each.pixels for each in found] == [None, "raw", "jpeg:75", None]
    assert {each.cut for each in found} == {"input", "output"}
    assert {each.rest_s for each in found[:3]} == {0.07}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (plan(), "lists no candidates, so no cut can move; plan again"),
        (plan({**told("input", 0.0, 0.0, 0.1), "input_codec": "png"}), "candidates are damaged"),
        (plan(told("input", -1.0, 0.0, 0.1)), "candidates are damaged"),
        (plan({"cut": "input"}), "candidates are damaged"),
    ],
)
def test_a_plan_that_cannot_move_is_refused_in_one_line(made, words):
    with pytest.raises(errors.TflsplitError, match=words):
        choices.of_plan(made)
