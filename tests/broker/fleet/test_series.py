import json

import model_clock
import pytest
from waiting import wait_for

from broker.fleet import listening, series
from broker.messages import probes, topics
from broker.messages.updates import Report, State
from broker.transport import memory
from broker.transport.protocol import Message
from tflsplit.observing import catalogue, exposition


def told(**metrics):
    fields = {"boot": "07", "sent_ms": 1, "state": "ok", "why": None, "fps": 1, "latency_ms": {}}
    return json.dumps(fields | {"metrics": metrics}).encode()


def by_name(watching):
    return {(family.name, *sample.labels): sample.value for family in watching.families() for sample in family.samples}


@pytest.fixture
def clock():
    return model_clock.Clock()


@pytest.fixture
def watching(clock):
    return series.Series("d", clock=clock, wall_clock=clock)


def taken_by(watching):
    return listening.Listening(memory.MemoryTransport(memory.MemoryBroker(), client_id="fleet"), "d", watching)


def say(watching, device, payload):
    taken_by(watching).take(Message(topics.topic("d", device, topics.Kind.TELEMETRY), payload))


def test_each_device_is_shown_with_what_it_said_last(watching, clock):
    say(watching, "a", told(frames_total=1))
    say(watching, "b", told(frames_total=5, dropped_total={"expired": 2}))
    clock.now_s += 10
    say(watching, "a", told(frames_total=3))
    found = by_name(watching)

    assert found["tflsplit_device_frames_total", "d", "a"] == 3
    assert found["tflsplit_device_frames_total", "d", "b"] == 5
    assert found["tflsplit_device_dropped_total", "d", "b", "expired"] == 2
    assert found["tflsplit_device_telemetry_timestamp_seconds", "d", "a"] == 1010
    assert found["tflsplit_device_telemetry_timestamp_seconds", "d", "b"] == 1000
    assert found["tflsplit_cloud_devices", "d"] == 2


def test_a_device_that_is_silent_for_long_is_shown_no_more(watching, clock):
    say(watching, "a", told(frames_total=1))
    clock.now_s += series.FORGET_S + 1
    say(watching, "b", told(frames_total=1))
    found = by_name(watching)

    assert ("tflsplit_device_frames_total", "d", "a") not in found
    assert found["tflsplit_cloud_devices", "d"] == 1


def test_there_are_never_more_devices_than_the_bound_and_those_left_out_are_counted(watching, monkeypatch):
    monkeypatch.setattr(series, "MOST_DEVICES", 10)
    for number in range(25):
        say(watching, f"cam{number}", told(frames_total=1))
    say(watching, "cam0", told(frames_total=2))
    found = by_name(watching)

    assert sum(key[0] == "tflsplit_device_frames_total" for key in found) == 10
    assert found["tflsplit_device_frames_total", "d", "cam0"] == 2
    assert found["tflsplit_cloud_devices_left_out_total", "d"] == 15


def test_bad_telemetry_is_counted_and_probes_and_reports_are_not(watching):
    for nonsense in (b"{nonsense", b" {}", b"\xff\xfe{}", b"[]", b"TFS", b""):
        say(watching, "a", nonsense)
    say(watching, "a", probes.message(1, 2, b"x" * 100))
    say(watching, "a", Report("0" * 16, State.INSTALLED).encode())
    taken_by(watching).take(Message("elsewhere", told()))
    found = by_name(watching)

    assert found["tflsplit_cloud_bad_telemetry_total", "d"] == 7
    assert found["tflsplit_cloud_devices", "d"] == 0


def test_all_that_is_shown_is_in_the_catalogue_and_can_be_scraped(watching):
    say(watching, "a", told(frames_total=1, build_info=[["1", "9f", "op1", 1]]))
    families = list(watching.families())

    assert {family.name for family in families} <= set(catalogue.every_name())
    assert b'device="a"' in exposition.renderer(lambda: families)("")[0]


def test_it_listens_to_the_devices_of_its_deployment_only():
    network = memory.MemoryBroker()
    with (
        memory.MemoryTransport(network, client_id="fleet") as hearing,
        memory.MemoryTransport(network, client_id="device") as speaking,
    ):
        hearing.connect()
        speaking.connect()
        watching = series.Series("d")
        with listening.Listening(hearing, "d", watching):
            speaking.publish(topics.topic("other", "a", topics.Kind.TELEMETRY), told(frames_total=1), qos=0)
            speaking.publish(topics.topic("d", "b", topics.Kind.TELEMETRY), told(frames_total=2), qos=0)
            wait_for(lambda: by_name(watching)["tflsplit_cloud_devices", "d"] == 1)

            assert by_name(watching)["tflsplit_device_frames_total", "d", "b"] == 2


def test_only_devices_that_are_wanted_are_shown(clock):
    watching = series.Series("d", ["b"], clock=clock, wall_clock=clock)
    for name in "abc":
        say(watching, name, told(frames_total=1))

    assert {key for key in by_name(watching) if key[0] == "tflsplit_device_frames_total"} == {
        ("tflsplit_device_frames_total", "d", "b")
    }
