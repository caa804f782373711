"""Each cause has an estimate of its own, and what is old gives way to what is usual."""

import pytest

from tests.tflsplit.switching import tables
from tflsplit.switching.choices import Choice
from tflsplit.switching.estimates import Estimates, Memory
from tflsplit.switching.policy import Answer, Waiting


def frame(sent_s, link_s, *, edge_s=0.021, wait_s=0.0, cloud_s=0.025):
    choice = tables.choices()[1]
    return Answer(choice, sent_s, choice.wire_bytes * 8, edge_s, link_s, wait_s, cloud_s)


def made(**memory):
    return Estimates(tables.present(mbit=5.0), Memory(**memory), tables.choices())


def test_a_slow_link_is_seen_as_a_slow_link_and_nothing_else():
    estimates = made()
    for step in range(10):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.04 + 0.256))
    now = estimates.present(1.0)

    assert 1 / now.s_per_bit == pytest.approx(1e6, rel=0.05)
    assert (now.edge_slower, now.cloud_slower, now.cloud_wait_s) == (1.0, 1.0, 0.0)


def test_a_busy_server_does_not_pass_for_a_slow_link():
    estimates = made()
    for step in range(20):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.04 + 0.0512, wait_s=0.3, cloud_s=0.1))
    now = estimates.present(1.9)

    assert 1 / now.s_per_bit == pytest.approx(5e6, rel=0.01)
    assert now.cloud_slower == pytest.approx(4.0, rel=0.03)
    assert now.cloud_wait_s == pytest.approx(0.3, rel=0.03)


def test_a_hot_device_is_seen_as_that():
    estimates = made()
    for step in range(20):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.04 + 0.0512, edge_s=0.042))

    assert estimates.present(2.0).edge_slower == pytest.approx(2.0, rel=0.01)


def test_a_part_that_is_small_says_nothing_of_how_slow_a_machine_is():
    """At the input the device only codes, at the end the server only answers: what a frame costs besides is most."""
    estimates = made()
    here, near_the_end = tables.Choice("input", 0.001, 1000, 0.033, 0.114), tables.Choice("op", 0.11, 1000, 0.001, 0.01)
    for step in range(50):
        estimates.learn(step * 0.1, Answer(here, 0.0, 8000.0, 0.005, 0.05, 0.0, 0.033))
        estimates.learn(step * 0.1, Answer(near_the_end, 0.0, 8000.0, 0.11, 0.05, 0.0, 0.004))
    now = estimates.present(5.0)

    assert (now.edge_slower, now.cloud_slower) == pytest.approx((1.0, 1.0))


def test_a_small_message_tells_the_round_trip():
    estimates = made()
    estimates.learn(0.0, Answer(None, 0.0, 800.0, 0.0, 0.12))

    assert estimates.present(0.0).rtt_s == pytest.approx(0.12, abs=0.001)


def test_a_message_that_is_hardly_longer_away_than_a_small_one_tells_of_no_boundless_rate():
    estimates = made()
    estimates.learn(0.0, Answer(None, 0.0, 32_000.0, 0.0, 0.0399))

    # 4 kB in three hundredths of the round trip.
    assert 5e6 < 1 / estimates.present(0.0).s_per_bit <= 27e6


def test_what_is_overdue_tells_of_the_link_before_its_answer():
    estimates = made()
    estimates.pending = Waiting(10.0, 32_000 * 8)

    assert estimates.present(10.1).s_per_bit == pytest.approx(1 / 5e6, rel=0.2)
    assert estimates.present(12.0).s_per_bit == pytest.approx((2.0 - 0.04) / (32_000 * 8))
    estimates.pending = None
    assert estimates.present(12.0).s_per_bit == pytest.approx(1 / 5e6)


def test_what_is_overdue_tells_of_the_server_once_a_probe_behind_it_came_back():
    estimates = made()
    estimates.pending = Waiting(10.0, 32_000 * 8, work_s=0.025, passed_s=10.15)
    now = estimates.present(11.0)

    assert now.s_per_bit == pytest.approx(1 / 5e6)
    assert now.cloud_wait_s == pytest.approx(1.0 - 0.04 - 0.0512 - 0.025)


def test_work_that_takes_no_longer_than_noise_says_little_of_a_machine():
    choice = Choice("input", 0.0005, 9_000, 0.0005, 0.1)
    estimates = made()
    for step in range(3):
        estimates.learn(step * 0.1, Answer(choice, step * 0.1, 72e3, 0.0015, 0.05, 0.0, 0.0015))
    now = estimates.present(0.3)

    assert (now.edge_slower, now.cloud_slower) == (pytest.approx(1.0, abs=0.4), pytest.approx(1.0, abs=0.4))


def test_a_server_that_is_free_again_is_known_by_its_first_answers():
    """What was forgotten while nothing was sent does not come back with the next answer."""
    estimates = made()
    for step in range(20):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.0912, wait_s=0.4, cloud_s=0.15))
    estimates.learn(60.0, frame(60.0, 0.0912))
    now = estimates.present(60.0)

    assert (now.cloud_slower, now.cloud_wait_s) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.0, abs=0.002))


def test_what_was_learnt_grows_old():
    estimates = made(half_life_s=20.0)
    for step in range(10):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.04 + 2.56, wait_s=0.3))
    rates = [1 / estimates.present(now_s).s_per_bit for now_s in (1.0, 21.0, 41.0, 400.0)]

    assert rates == sorted(rates)
    assert rates[0] < 0.12e6
    assert rates[-1] == pytest.approx(5e6, rel=0.01)
    assert estimates.present(400.0).cloud_wait_s == pytest.approx(0.0, abs=1e-3)


def test_a_device_that_was_hot_is_tried_again():
    estimates = made(device_half_life_s=60.0)
    for step in range(20):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.0912, edge_s=0.084))

    assert estimates.present(2.0).edge_slower == pytest.approx(4.0, rel=0.01)
    assert estimates.present(302.0).edge_slower == pytest.approx(1.0, abs=0.1)


def test_a_frame_that_was_given_up_tells_the_rate_and_is_no_error():
    estimates = made()
    before = list(estimates.errors)
    estimates.learn(1.0, Answer(None, 0.0, 1e6, 0.0, 2.0, is_given_up=True))

    assert estimates.known(1.0).s_per_bit > 4 * tables.present(mbit=5.0).s_per_bit
    assert list(estimates.errors) == before


def test_errors_are_measured_over_expected_and_bounded():
    estimates = made(errors=3)
    for link_s in (0.04 + 0.0512, 0.04 + 0.1024, 0.04 + 0.1024):
        estimates.learn(0.0, frame(0.0, link_s))

    assert list(estimates.errors)[:2] == pytest.approx([1.0, 1.56], rel=0.01)
    assert len(estimates.errors) == 3
    assert estimates.errors[2] < 1.3


@pytest.mark.parametrize("round_trips_s", [(0.2,), (0.04, 0.12, 0.2, 0.2), (0.12, 0.2, 0.2, 0.3)])
def test_one_probe_on_a_busy_machine_is_no_quick_link(round_trips_s):
    """4 kB at 0.2 Mbit/s took no longer than small ones did: these were held up, and the rate is not told."""
    estimates = made()
    for step in range(3):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.04 + 1.28))
    for step, took_s in enumerate(round_trips_s):
        estimates.learn(1.0 + step, Answer(None, 1.0 + step, 2_000.0, 0.0, took_s))
    estimates.learn(6.0, Answer(None, 6.0, 32_000.0, 0.0, 0.195))

    assert 1 / estimates.present(6.0).s_per_bit < 1e6


def test_a_link_that_is_quick_again_is_known_by_its_first_probes():
    estimates = made()
    for step in range(3):
        estimates.learn(step * 0.1, frame(step * 0.1, 0.04 + 60.0))
    for step in range(2):
        estimates.learn(60.0 + step, Answer(None, 60.0, 2_000.0, 0.0, 0.041))
        estimates.learn(60.5 + step, Answer(None, 60.5, 32_000.0, 0.0, 0.0425))

    assert 1 / estimates.present(61.5).s_per_bit > 5e6
