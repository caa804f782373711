"""What a device may choose between, and what each costs now."""

import pytest

from tests.support import invented
from tests.tflsplit.switching import tables
from tflsplit.planning import candidates, network
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
