"""When bytes come out of a link that a trace describes, on invented clocks."""

import random

import pytest

from broker.links.playback import Down, Play, Up
from tflsplit.planning import network
from tflsplit.switching import traces
from tflsplit.switching.traces import Conditions

PACKETS = 1448, 1500  # as a stream's bytes, and on the wire


def play(*rows, rtt_s=0.0, end_s=10.0):
    return Play(traces.of_rates("made", rows, end_s), rtt_s)


def up(*rows, starts_s=100.0, **more):
    return Up(play(*rows, **more), starts_s, random.Random(1))


def test_bytes_take_the_rate_of_the_time_in_which_they_travel():
    link = up((0.0, 12_000.0, Conditions()), (1.0, 120_000.0, Conditions()))

    # A packet is 12,000 bits: a second at the first rate, a tenth of it at the second.
    assert [link.out_at_s(100.0, PACKETS[0]) for _ in range(3)] == pytest.approx([101.0, 101.1, 101.2])


def test_nothing_passes_while_the_trace_has_no_capacity():
    link = up((0.0, 12_000.0, Conditions()), (1.0, 0.0, Conditions()), (5.0, 12_000.0, Conditions()))

    assert link.out_at_s(100.5, PACKETS[0]) == pytest.approx(105.5)


def test_the_round_trip_is_what_the_trace_says_and_the_given_one_where_it_says_nothing():
    rows = (0.0, 1e9, Conditions(rtt_s=0.2)), (5.0, 1e9, Conditions())
    there, back = up(*rows, rtt_s=0.04), Down(play(*rows, rtt_s=0.04), 100.0)

    assert there.out_at_s(101.0, 10) - 101.0 == pytest.approx(0.1, abs=1e-4)
    assert there.out_at_s(106.0, 10) - 106.0 == pytest.approx(0.02, abs=1e-4)
    assert [back.out_at_s(101.0, 10**6), back.out_at_s(106.0, 10**6)] == pytest.approx([101.1, 106.02])


def test_bytes_that_entered_later_never_come_out_sooner():
    rows = (0.0, 1e9, Conditions(rtt_s=4.0)), (1.0, 1e9, Conditions(rtt_s=0.0))
    there, back = up(*rows), Down(play(*rows), 100.0)
    for link in (there, back):
        out = [link.out_at_s(100.0 + step / 10, 10) for step in range(40)]
        assert out == sorted(out)


def test_a_trace_that_has_not_begun_is_as_it_will_be_at_its_beginning():
    link = up((0.0, 12_000.0, Conditions(rtt_s=0.2)))

    assert link.out_at_s(99.0, PACKETS[0]) == pytest.approx(100.1, abs=1.0)


def test_loss_costs_what_the_planner_says_that_it_costs():
    loss, rtt_s, count = 0.02, 0.1, 20_000
    link = up((0.0, 1e12, Conditions(rtt_s=rtt_s, loss=loss)), end_s=1e6)
    waited_s = [link.out_at_s(100.0 + step * 10, 100) - (100.0 + step * 10) - rtt_s / 2 for step in range(count)]
    again_s, share = network.sending_again(1, loss, rtt_s)

    assert sum(waited_s) / count == pytest.approx(share * again_s, rel=0.1)


def test_the_end_of_a_stream_does_not_overtake_its_bytes():
    link = up((0.0, 12_000.0, Conditions()))

    assert link.out_at_s(100.0, PACKETS[0]) == link.out_at_s(100.0, 0) == pytest.approx(101.0)
