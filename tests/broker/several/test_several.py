"""Several brokers as one: what one that is away stops, where messages go, and who counts as online."""

import collections
import random

import pytest
import waiting

from broker.messages import presence
from broker.messages.presence import Presence
from broker.several.transport import Several
from broker.transport import address, protocol
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import ConnectionState, Drop
from tflsplit import errors

NAMES = ("a:1883", "b:1883", "c:1883")
SOON_S = waiting.WAIT_S
RESULTS = "tflsplit/v1/d/{}/results"
FEATURES = "tflsplit/v1/d/{}/features"


@pytest.fixture
def brokers():
    return {name: MemoryBroker() for name in NAMES}


@pytest.fixture
def several(brokers):
    made = []

    def join(client_id, *, speaker=None, presence=None, limits=None):
        options = {"client_id": client_id, "presence": presence, "limits": limits}
        members = {name: MemoryTransport(broker, **options) for name, broker in brokers.items()}
        made.append(Several(members, speaker))
        made[-1].connect()
        return made[-1]

    yield join
    for each in made:
        each.close(timeout_s=0)


def at(brokers, name, client_id):
    made = MemoryTransport(brokers[name], client_id=client_id)
    made.connect()
    return made


def device_of(name):
    """A device that is assigned to that broker."""
    return next(f"cam{n}" for n in range(1000) if NAMES[address.assigned(NAMES, f"cam{n}")] == name)


def test_devices_are_spread_evenly_and_another_broker_moves_only_its_share():
    devices = [f"cam{number}" for number in range(4000)]
    before = {device: NAMES[address.assigned(NAMES, device)] for device in devices}
    counted = collections.Counter(before.values())
    assert all(abs(count - 4000 / 3) < 150 for count in counted.values())

    four = (*NAMES, "d:1883")
    after = {device: four[address.assigned(four, device)] for device in devices}
    moved = {device for device in devices if before[device] != after[device]}
    assert {after[device] for device in moved} == {"d:1883"}
    assert abs(len(moved) - 1000) < 120


def test_the_order_of_the_list_does_not_matter_and_the_assignment_never_changes():
    shuffled = list(NAMES)
    random.Random(1).shuffle(shuffled)
    for number in range(100):
        device = f"cam{number}"
        assert NAMES[address.assigned(NAMES, device)] == shuffled[address.assigned(shuffled, device)]
    # Edges in the field and clouds of other versions have to agree.
    assert [NAMES[address.assigned(NAMES, f"cam{n}")][0] for n in range(12)] == list("cbcccaaabbaa")


def test_what_is_for_a_device_goes_to_its_broker_alone(brokers, several):
    cloud = several("cloud", speaker="cloud")
    watchers = {name: at(brokers, name, "watcher") for name in NAMES}
    for watcher in watchers.values():
        watcher.subscribe("#")
    cloud.publish(RESULTS.format(device_of("b:1883")), b"1")
    assert cloud.try_publish("tflsplit/v1/d/cloud/serves", b"2", retain=True)

    came = {name: [message.payload for message in iter(lambda: w.receive(0.0), None)] for name, w in watchers.items()}  # noqa: B023
    assert came == {"a:1883": [b"2"], "b:1883": [b"1", b"2"], "c:1883": [b"2"]}


def test_answers_go_back_to_where_a_device_still_is(brokers, several):
    cloud = several("cloud", speaker="cloud")
    cloud.subscribe(FEATURES.format("+"))
    device = device_of("b:1883")
    edge = at(brokers, "a:1883", "edge")  # it has not read the new list yet
    edge.subscribe(RESULTS.format(device))
    edge.publish(FEATURES.format(device), b"frame")

    message = cloud.receive(SOON_S)
    cloud.publish(RESULTS.format(device), b"result")
    cloud.acknowledge(message, after_published=True)

    assert edge.receive(SOON_S).payload == b"result"
    assert not brokers["a:1883"]._sessions["cloud"].unacknowledged


def test_broker_that_is_away_stops_only_its_devices_and_is_taken_up_again(brokers, several):
    limits = protocol.Limits(outbox_messages=4)
    cloud = several("cloud", speaker="cloud", limits=limits)
    cloud.subscribe(FEATURES.format("+"))
    brokers["b:1883"].stop()
    assert cloud.state is ConnectionState.ONLINE
    assert cloud.absent.startswith("1 of 3 brokers away, with some 33% of the devices: b:1883")
    assert [cloud.reaches(device_of(name)) for name in NAMES] == [True, False, True]

    lost = RESULTS.format(device_of("b:1883"))
    assert all(cloud.try_publish(lost, b"r", then=("tflsplit/v1/d/x/acks", b"a")) for _ in range(10))
    there = at(brokers, "a:1883", "edge")
    there.publish(FEATURES.format(device_of("a:1883")), b"frame")
    assert cloud.receive(SOON_S).payload == b"frame"
    assert cloud.try_publish(RESULTS.format(device_of("a:1883")), b"r")
    assert cloud.counters.dropped[Drop.CONNECTION_LOST] > 0
    assert not cloud.flush(0.0)
    cloud.subscribe("tflsplit/v1/d/+/birth")  # of the one that is away when it is back

    brokers["b:1883"].start()
    assert cloud.absent is None
    back = at(brokers, "b:1883", "edge")
    for topic in (FEATURES.format(device_of("b:1883")), "tflsplit/v1/d/cam/birth"):
        back.publish(topic, b"again")
        assert cloud.receive(SOON_S).topic == topic
    assert cloud.reconnects == 1


def test_start_goes_on_without_a_broker_that_is_not_there(brokers, several, caplog):
    brokers["c:1883"].stop()
    cloud = several("cloud", speaker="cloud")
    assert "goes on without some brokers" in caplog.text
    assert "c:1883" in caplog.text
    cloud.subscribe(FEATURES.format("+"))
    cloud.try_publish("tflsplit/v1/d/cloud/serves", b"here", retain=True)

    brokers["c:1883"].start()
    late = at(brokers, "c:1883", "edge")
    late.subscribe("tflsplit/v1/d/+/serves")
    assert late.receive(SOON_S).payload == b"here"
    late.publish(FEATURES.format("cam"), b"frame")
    assert cloud.receive(SOON_S).payload == b"frame"


def test_start_without_any_broker_fails_and_names_one(brokers, several):
    for broker in brokers.values():
        broker.stop()
    with pytest.raises(errors.BrokerError, match="broker a:1883: "):
        several("cloud")


def test_inboxes_take_turns(brokers, several):
    cloud = several("cloud")
    cloud.subscribe("t/#")
    for name, count in (("a:1883", 6), ("b:1883", 2), ("c:1883", 2)):
        sender = at(brokers, name, "sender")
        for _ in range(count):
            sender.publish(f"t/{name}", b"")
    came = [cloud.receive(SOON_S).topic[2] for _ in range(10)]
    assert sorted(came[:6]) == list("aabbcc")
    assert came[6:] == list("aaaa")


def statuses(watcher):
    return [presence.parse(message.payload).state for message in iter(lambda: watcher.receive(0.0), None)]


def test_who_is_at_all_is_online_until_none_says_so(brokers, several):
    watcher = several("watcher")
    watcher.subscribe("tflsplit/v1/d/+/status")
    cloud = several("cloud", speaker="cloud", presence=Presence("tflsplit/v1/d/cloud/status", 7))
    assert statuses(watcher) == ["online"]

    brokers["b:1883"].cut("cloud")  # which says its last will there
    assert statuses(watcher) == []
    brokers["b:1883"].restore("cloud")
    statuses(watcher)
    cloud.say_online()
    assert statuses(watcher) == ["online"] * 3
    for name in NAMES:
        brokers[name].cut("cloud")
    assert statuses(watcher) == ["offline"]


def test_what_a_dead_broker_said_last_keeps_nobody_online(brokers, several):
    watcher = several("watcher")
    watcher.subscribe("tflsplit/v1/d/+/status")
    several("cloud", presence=Presence("tflsplit/v1/d/cloud/status", 7))
    brokers["a:1883"].stop()
    for name in NAMES[1:]:
        brokers[name].cut("cloud")
    assert statuses(watcher) == ["online", "offline"]


def test_device_that_moved_is_online_where_it_is_now(brokers, several):
    old = MemoryTransport(brokers["a:1883"], client_id="edge", presence=Presence("tflsplit/v1/d/cam/status", 1))
    old.connect()
    old.close()
    new = MemoryTransport(brokers["b:1883"], client_id="edge", presence=Presence("tflsplit/v1/d/cam/status", 2))
    new.connect()
    for _ in range(3):  # whichever comes first
        watcher = several(f"watcher{_}")
        watcher.subscribe("tflsplit/v1/d/+/status")
        assert statuses(watcher)[-1] == "online"
        watcher.close()
    new.close()


@pytest.mark.parametrize(
    ("urls", "problem"),
    [
        (
            ["mqtt://a", "mqtt://b", "mqtt://A:1883"],
            "broker a:1883 is named twice among mqtt://a, mqtt://b, mqtt://A:1883",
        ),
        (["mqtt://a", " "], "brokers 'mqtt://a', ' ': one of them is empty; leave it out"),
        (["mqtt://a", "zenoh://b"], r"zenoh://b: this needs a broker \(mqtt://…\); a direct link has none"),
        (["mqtt://a", "b"], "broker 'b': expected mqtt://"),
    ],
)
def test_lists_that_are_none_are_refused(urls, problem):
    with pytest.raises(errors.SettingsError, match=problem):
        address.parse_all(urls)
