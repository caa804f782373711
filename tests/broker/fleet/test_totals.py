"""A fleet as a cloud exports it: sums that only grow, how many are how slow, and the worst by name."""

import model_clock
import pytest

from broker.fleet import totals
from broker.messages.telemetry import Telemetry
from tflsplit.observing import catalogue, exposition
from tflsplit.observing.metrics import Distribution, Family, Sample
from tflsplit.timings.latency import BOUNDS_S


def said(boot=1, *, state="ok", p95_ms=None, latencies=None, dropped=(), **counted):
    families = [Family("", getattr(catalogue, name), (Sample(value),)) for name, value in counted.items()]
    if dropped:
        families.append(Family("", catalogue.DROPPED, tuple(Sample(count, (why,)) for why, count in dropped)))
    if latencies is not None:
        families.append(Family("", catalogue.LATENCY, (Sample(latencies),)))
    return Telemetry(boot, 0.0, state, None, 1.0, {"p95": p95_ms}, tuple(families))


def shown(fleet):
    return {(family.name, *sample.labels): sample.value for family in fleet.families() for sample in family.samples}


@pytest.fixture
def clock():
    return model_clock.Clock()


@pytest.fixture
def fleet(clock):
    return totals.Totals("d", clock=clock)


def test_counters_grow_by_what_devices_counted_since_they_were_heard_first(fleet):
    fleet.told("a", said(FRAMES=1000, dropped=[("expired", 5)]))
    fleet.told("b", said(FRAMES=10))
    assert shown(fleet)["tflsplit_fleet_frames_total", "d"] == 0
    fleet.told("a", said(FRAMES=1003, dropped=[("expired", 7)]))
    fleet.told("b", said(FRAMES=11))
    fleet.told("a", said(boot=2, FRAMES=4, dropped=[("full", 1)]))

    assert shown(fleet)["tflsplit_fleet_frames_total", "d"] == 3 + 1 + 4
    assert shown(fleet)["tflsplit_fleet_dropped_total", "d", "expired"] == 2
    assert shown(fleet)["tflsplit_fleet_dropped_total", "d", "full"] == 1


def test_a_counter_never_falls_whatever_a_device_says(fleet):
    for count in (10, 20, 3, 5):
        fleet.told("a", said(FRAMES=count))

    assert shown(fleet)["tflsplit_fleet_frames_total", "d"] == 10 + 2


def test_latencies_of_all_frames_are_one_histogram_and_other_bounds_are_left_out(fleet):
    counts = [0] * (len(BOUNDS_S) + 1)
    for total in (3, 8):
        counts[4] = total
        fleet.told("a", said(latencies=Distribution(BOUNDS_S, tuple(counts), 0.01 * total)))
        fleet.told("b", said(latencies=Distribution((1.0,), (total, 0), 1.0 * total)))
    found = shown(fleet)["tflsplit_fleet_latency_seconds", "d"]

    assert (found.counts[4], found.count) == (5, 5)
    assert found.sum_s == pytest.approx(0.05)


def test_devices_are_counted_by_state_slowness_and_what_they_lack(fleet):
    fleet.told("a", said(p95_ms=3.0, ACCELERATOR_UP=1.0))
    fleet.told("b", said(p95_ms=30.0, ACCELERATOR_UP=0.0, SPOOL_FULL=1.0))
    fleet.told("c", said(state="stuck"))
    fleet.told("d", said(state="a word of its own"))
    found = shown(fleet)

    states = {state: found["tflsplit_fleet_devices_by_state", "d", state] for state in ("ok", "stuck", "other")}
    assert states == {"ok": 2, "stuck": 1, "other": 1}
    assert found["tflsplit_fleet_device_p95_seconds", "d"].count == 2
    assert found["tflsplit_fleet_accelerator_down_devices", "d"] == 1
    assert found["tflsplit_fleet_spool_full_devices", "d"] == 1
    assert found["tflsplit_cloud_devices", "d"] == 4


def test_the_worst_are_named_and_those_that_were_silent_for_long_are_gone(fleet, clock):
    for number in range(40):
        fleet.told(f"n{number}", said(p95_ms=float(number)))
        clock.now_s += 1.0
    slowest = {key[2] for key in shown(fleet) if key[0] == "tflsplit_fleet_slowest_p95_seconds"}
    quietest = {key[2] for key in shown(fleet) if key[0] == "tflsplit_fleet_quietest_silence_seconds"}
    clock.now_s += totals.FORGET_S - 1.0

    assert slowest == {f"n{number}" for number in range(30, 40)}
    assert quietest == {f"n{number}" for number in range(10)}
    assert shown(fleet)["tflsplit_cloud_devices", "d"] == 1


def test_a_scrape_has_as_many_lines_for_ten_thousand_devices_as_for_twenty(clock):
    def lines(devices):
        fleet = totals.Totals("d", clock=clock)
        for number in range(devices):
            fleet.told(f"n{number:05}", said(p95_ms=number / 100, FRAMES=1, dropped=[("expired", 1)]))
        return len(exposition.renderer(lambda: list(fleet.families()))("")[0].splitlines())

    assert lines(10_000) == lines(20)


def test_devices_and_reasons_are_bounded_and_what_is_left_out_is_counted(fleet, monkeypatch):
    monkeypatch.setattr(totals, "MOST_DEVICES", 10)
    monkeypatch.setattr(totals, "_MOST_KEYS", 5)
    for _ in range(2):
        for number in range(25):
            fleet.told(f"n{number}", said(dropped=[(f"reason {number} {turn}", 1) for turn in range(3)]))
    found = shown(fleet)

    assert found["tflsplit_cloud_devices", "d"] == 10
    assert found["tflsplit_cloud_devices_left_out_total", "d"] == 30
    assert 0 < sum(key[0] == "tflsplit_fleet_dropped_total" for key in found) <= 6


def test_all_that_is_shown_is_in_the_catalogue(fleet):
    fleet.told("a", said(p95_ms=1.0, FRAMES=1))

    assert {family.name for family in fleet.families()} <= set(catalogue.every_name())
