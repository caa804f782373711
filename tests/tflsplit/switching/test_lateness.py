"""From when on a frame is late, and how much that counts, out of what was seen."""

import pytest

from tests.tflsplit.switching import tables
from tflsplit.switching.choices import latency_s
from tflsplit.switching.lateness import SHARE, Lateness

CHOICES = tables.choices()
SECOND, LOCAL = CHOICES[1], CHOICES[-1]
GOOD, BAD = tables.present(mbit=20.0), tables.present(mbit=0.1)


def seen(*stretches):
    """Ten seconds each of what the link was like, a frame each tenth of a second."""
    lateness, now_s, late = Lateness(CHOICES, GOOD), 0.0, None
    for present in stretches:
        for _ in range(100):
            late = lateness.late(now_s, present)
            now_s += 0.1
    return lateness, late


def test_late_is_what_takes_longer_than_the_best_cut_that_stays_in_19_of_20_seconds():
    _, good = seen(*(GOOD,) * 10)
    assert good.after_s == pytest.approx(1.05 * min(latency_s(each, GOOD) for each in CHOICES), rel=0.02)

    _, bad = seen(*(GOOD,) * 8, BAD, BAD)  # every cut that sends is late for a sixth of the time
    assert bad.after_s == pytest.approx(1.05 * LOCAL.edge_s, rel=0.02)

    _, again = seen(BAD, *(GOOD,) * 300)
    assert again.after_s == pytest.approx(good.after_s, rel=0.03)


def test_lateness_counts_the_more_the_nearer_its_share_comes_to_the_twentieth():
    weights = []
    for late_frames in range(7):
        lateness, before = seen(GOOD)
        for step in range(100):
            is_late = step >= 100 - late_frames
            lateness.took(LOCAL, before.after_s * (2.0 if is_late else 0.5), tick_s=1.0)
        weights.append(lateness.late(10.0, GOOD).weight)

    assert weights[:3] == [0.0, 0.0, 0.0]  # up to a fortieth
    assert 0.0 < weights[3] < weights[4] < weights[5] == weights[6] == before.weight
    assert before.weight >= 1 / SHARE


def test_what_was_late_without_a_sign_is_a_risk_of_sending_alone():
    lateness, before = seen(GOOD)
    for step in range(200):
        lateness.took(LOCAL, 9.0, tick_s=0.1)
        lateness.took(SECOND, 2.0 if step % 20 == 0 else 0.1, tick_s=0.1)

    assert before.risk == 0.0
    assert 0.3 < lateness.late(10.0, GOOD).risk < 0.7  # by time: 2 s of each 3.9


def test_an_edge_that_runs_for_years_holds_no_more():
    lateness = Lateness(CHOICES, GOOD)
    for year in range(40):
        for took_s in (1e-9, 0.05, 1e9):
            lateness.took(SECOND, took_s, tick_s=3e7)
            assert lateness.late(year * 3e7, GOOD).risk >= 0
