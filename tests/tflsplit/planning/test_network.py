"""Bytes and seconds on the wire; the sizes are those of the frames that are really sent."""

import dataclasses
import math

import numpy as np
import pytest

from broker.messages import results, wire
from broker.transport import protocol
from tflsplit import quantities
from tflsplit.coding import feature_codec
from tflsplit.graph.tensors import TensorSpec
from tflsplit.planning import network
from tflsplit.timings import distribution, presets
from tflsplit.timings.links import Link, Point
from tflsplit.timings.profiles import Origin, Timing

BOUNDARY = (TensorSpec("a", (1, 7, 7, 3), "int8", 0.5, 1), TensorSpec("b", (1, 10), "int8", 0.25, 0))
TOPIC = "tflsplit/v1/deployment/device-001/features"


def stated(bandwidth_bps, rtt_s, loss=0.0):
    return Link("test", Origin.STATED, bandwidth_bps, rtt_s, loss)


def timing(seconds):
    return Timing((seconds,) * 5)


@pytest.mark.parametrize("inputs", [1, 2, 8])
def test_a_frame_is_as_long_as_the_one_that_is_sent(inputs):
    frame = wire.Frame(b"p" * 16, 3, 1, 2, 3, 4, BOUNDARY, later_ns=(0,) * (inputs - 1))
    arrays = [np.zeros(spec.shape, spec.dtype) for spec in frame.carried]
    encoded = wire.encode(frame, arrays, feature_codec.Plain())

    assert wire.HEADER_BYTES == network.FRAME_HEADER_BYTES
    assert network.frame_bytes(BOUNDARY, (7 * 7 * 3 + 10) * inputs, inputs) == len(encoded)


@pytest.mark.parametrize("payload", [10, 1000, 20_000, 3_000_000])
def test_a_packet_on_the_wire_has_mqtts_header_and_one_of_tcp_a_segment(payload):
    packet = protocol.publish_packet_bytes(TOPIC, payload, qos=1, expires=False)

    assert network.wire_bytes(payload) == packet + 52 * math.ceil(packet / 1448)


def test_a_result_is_about_as_long_as_one_that_is_sent():
    scores = [results.Score(f"label of class {number}", 0.123456789) for number in range(5)]
    result = results.Result(
        device="device-001",
        boot=1 << 60,
        sequence=123456,
        cut="op012",
        package="9" * 64,
        top=tuple(scores),
        times=results.Times(1.7e12, 12.345, 1.7e12, 0.123, 0.123, 12.345, 1.7e12),
    )
    assert len(result.as_json()) == pytest.approx(network.RESULT_BYTES, rel=0.3)


def test_sending_takes_its_bytes_over_the_bandwidth():
    assert network.sending(stated(8e6, 0.04), 10_000).p50_s == pytest.approx(network.wire_bytes(10_000) / 1e6)


def test_a_hop_is_half_a_round_trip_and_the_broker():
    assert network.hop(stated(8e6, 0.04)).p50_s == pytest.approx(0.02 + network.BROKER_HOP_S)


def test_loss_narrows_a_fast_link_as_mathis_says_and_leaves_a_slow_one():
    assert network.usable_bps(stated(1e9, 0.1, 0.01)) == pytest.approx(1448 * 8 / 0.1 * math.sqrt(150))
    assert network.usable_bps(stated(1e5, 0.1, 0.01)) == 1e5


def test_loss_hits_a_small_message_by_tcps_timer_and_a_large_one_by_a_round_trip():
    link = stated(1e6, 0.05, 0.06)
    clean = stated(1e6, 0.05)

    def added(size):
        return network.sending(link, size).p95_s - network.sending(clean, size).p95_s

    assert added(500) == pytest.approx(0.2)
    assert network.usable_bps(link) == 1e6
    assert added(10_000) == pytest.approx(0.05)


def test_a_measured_link_gives_what_was_measured_between_two_sizes():
    link = Link(
        "probed",
        Origin.MEASURED,
        8e6,
        0.009,
        points=(
            Point(100, timing(0.010), 8e6),
            Point(10_100, timing(0.030), 8e6),
            Point(20_100, timing(0.040), 8e6),
        ),
    )
    assert network.hop(link).p50_s == pytest.approx(0.005)
    assert network.sending(link, 5_100).p50_s == pytest.approx(0.010)
    assert network.sending(link, 15_100).p50_s == pytest.approx(0.025)
    assert network.sending(link, 30_100).p50_s == pytest.approx(0.030 + 0.010)
    assert network.sending(link, 100).p50_s == 0.0


def test_presets_are_found_however_they_are_written():
    assert presets.named("LTE-M") == presets.named("ltem")
    assert presets.named("Wi-Fi").bandwidth_bps > presets.named("NB-IoT").bandwidth_bps
    assert all(link.source and link.origin is Origin.STATED for link in presets.PRESETS.values())


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(Exception, match="neither a file nor a preset; presets are nb-iot, lte-m, 3g"):
        presets.named("5g")


def test_a_link_of_nothing_is_refused():
    with pytest.raises(Exception, match="carries nothing"):
        stated(quantities.parse_bandwidth("0Mbit"), 0.01)


@pytest.mark.parametrize(
    ("message_bytes", "gap_s", "measured_ms"),
    [
        # Cubic through 50 Mbit/s and 100 ms, packet by packet: benchmarks/slow_start.py.
        (10_000, 2.0, 102),
        (60_000, 1.0, 303),
        (60_000, 2.0, 305),
        (150_000, 1.0, 306),
        (150_000, 2.0, 411),
    ],
)
def test_a_rest_costs_the_round_trips_that_linux_takes_to_open_its_window_again(message_bytes, gap_s, measured_ms):
    link = Link("far", Origin.STATED, 50e6, 0.1)
    waits = network.warming_up(link, message_bytes, 1 / gap_s)
    expected_s = link.rtt_s + network.sending(link, message_bytes).p50_s + waits.p50_s

    assert expected_s * 1e3 == pytest.approx(measured_ms, rel=0.02)


def test_frames_that_follow_one_another_closely_wait_for_no_window():
    link = Link("far", Origin.STATED, 50e6, 0.1)

    assert network.warming_up(link, 60_000, 10.0) is distribution.NOTHING
    assert network.warming_up(dataclasses.replace(link, rtt_s=0.0), 60_000, 0.1) is distribution.NOTHING
