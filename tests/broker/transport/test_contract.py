"""What every transport does, whatever the broker behind it."""

import threading

import pytest
import waiting

from broker.messages import presence
from broker.transport import protocol
from broker.transport.protocol import ConnectionState, Drop
from tflsplit import errors

SOON_S = waiting.WAIT_S
# How long to listen for what must not come. Longer proves no more: the message before it has already been seen.
A_MOMENT_S = 0.05


def take(client, *, acknowledge=True):
    message = client.receive(SOON_S)
    assert message is not None, "nothing came"
    if acknowledge:
        client.acknowledge(message)
    return message


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("size", [0, 1, 12_544, 300_000])
def test_message_arrives_as_it_was_published(hub, qos, size):
    edge, cloud = hub.join("edge"), hub.join("cloud")
    cloud.subscribe("site/+/features", qos=qos)  # amqtt delivers at this QoS, whatever the publication's
    payload = bytes(index % 251 for index in range(size))

    edge.publish("site/cam/features", payload, qos=qos)

    message = take(cloud)
    assert (message.topic, message.payload, message.qos) == ("site/cam/features", payload, qos)
    assert not message.retained
    assert edge.flush(SOON_S)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_payload_may_be_any_bytes(hub, wrap):
    client = hub.join("client")
    client.subscribe("t")
    client.publish("t", wrap(b"abc"))
    assert take(client).payload == b"abc"


@pytest.mark.parametrize("qos", [0, 1])
def test_order_is_kept_and_nothing_is_lost_or_doubled(hub, qos):
    edge, cloud = hub.join("edge"), hub.join("cloud")
    cloud.subscribe("t", qos=qos)
    for number in range(200):
        edge.publish("t", b"%d" % number, qos=qos)
    assert [int(take(cloud).payload) for _ in range(200)] == list(range(200))
    assert edge.flush(SOON_S)
    assert edge.counters.published == 200
    assert edge.counters.acknowledged == (200 if qos else 0)
    assert cloud.counters.received == 200
    assert not any(edge.counters.dropped.values())
    assert not any(cloud.counters.dropped.values())


@pytest.mark.parametrize("qos", [0, 1])
def test_what_follows_a_message_comes_behind_it_and_before_the_next(hub, qos):
    cloud, edge = hub.join("cloud"), hub.join("edge")
    edge.subscribe("+", qos=qos)
    for number in range(50):
        assert cloud.try_publish("result", b"%d" % number, qos=qos, then=("ack", b"%d" % number))

    came = [take(edge) for _ in range(100)]

    places = {(message.topic, int(message.payload)): place for place, message in enumerate(came)}
    assert all(places["result", number] < places["ack", number] for number in range(50))
    assert cloud.flush(SOON_S)
    assert cloud.counters.published == 100


def test_filter_keeps_other_topics_out(hub):
    edge, cloud = hub.join("edge"), hub.join("cloud")
    cloud.subscribe("a/+/x")
    for topic in ("a/x", "a/b/c/x", "b/b/x", "a/b/y"):
        edge.publish(topic, b"no")
    edge.publish("a/b/x", b"yes")
    assert take(cloud).payload == b"yes"


def test_retained_message_meets_a_late_subscriber_and_an_empty_one_clears_it(hub):
    edge = hub.join("edge")
    edge.publish("status", b"online", retain=True)
    assert edge.flush(SOON_S)
    late = hub.join("late")
    late.subscribe("status")
    message = take(late)
    assert (message.payload, message.retained) == (b"online", True)

    edge.publish("status", b"", retain=True)
    assert take(late).payload == b""
    later = hub.join("later")
    later.subscribe("status")
    assert later.receive(A_MOMENT_S) is None


def test_more_unacknowledged_messages_than_asked_for_are_not_lost(hub):
    edge = hub.join("edge")
    cloud = hub.join("cloud", limits=protocol.Limits(inbox_messages=3))
    cloud.subscribe("t")
    for number in range(12):
        edge.publish("t", b"%d" % number)
    received = [take(cloud) for _ in range(12)]
    assert [int(message.payload) for message in received] == list(range(12))


def test_qos_1_that_exceeds_the_inboxs_bytes_is_dropped_counted_and_does_not_block(hub):
    edge = hub.join("edge")
    cloud = hub.join("cloud", limits=protocol.Limits(inbox_bytes=4_000))
    cloud.subscribe("t")
    for _ in range(4):
        edge.publish("t", bytes(2_000))
    waiting.wait_for(lambda: cloud.counters.received + cloud.counters.dropped[Drop.INBOX_FULL] == 4)
    assert cloud.counters.received == 1
    take(cloud)
    edge.publish("t", b"after")
    assert take(cloud).payload == b"after"


def test_what_finds_the_inbox_full_is_dropped_and_counted(hub):
    edge = hub.join("edge")
    cloud = hub.join("cloud", limits=protocol.Limits(inbox_messages=3))
    cloud.subscribe("t", qos=0)
    for number in range(12):
        edge.publish("t", b"%d" % number, qos=0)
    waiting.wait_for(lambda: cloud.counters.received + cloud.counters.dropped[Drop.INBOX_FULL] == 12)
    assert [take(cloud).payload for _ in range(3)] == [b"0", b"1", b"2"]
    assert cloud.counters.dropped[Drop.INBOX_FULL] == 9


def test_acknowledging_twice_or_at_qos_0_does_nothing(hub):
    client = hub.join("client")
    client.subscribe("t")
    client.publish("t", b"1", qos=1)
    client.acknowledge(take(client))
    client.publish("t", b"0", qos=0)
    client.acknowledge(take(client))
    client.publish("t", b"after", qos=1)
    assert take(client).payload == b"after"


def test_receive_returns_none_when_its_time_is_up(hub):
    assert hub.join("client").receive(0.0) is None


def test_packet_over_our_own_limit_is_refused_and_harms_nothing(hub):
    client = hub.join("client", limits=protocol.Limits(packet_bytes=1000))
    client.subscribe("t")
    client.publish("t", b"before")
    with pytest.raises(errors.BrokerError, match=r"makes a packet of 1\d{3} bytes, the limit is 1000"):
        client.publish("t", bytes(1000))
    with pytest.raises(errors.BrokerError, match="the limit is 1000"):
        client.try_publish("t", bytes(1000))
    client.publish("t", b"after")
    assert [take(client).payload, take(client).payload] == [b"before", b"after"]


def test_expired_on_arrival_is_not_the_rule(hub):
    client = hub.join("client")
    client.subscribe("t")
    client.publish("t", b"fresh", expiry_s=60.0)
    assert take(client).payload == b"fresh"


def test_connect_twice_is_refused(hub):
    client = hub.join("client")
    with pytest.raises(errors.BrokerError, match="was called before"):
        client.connect()


def test_closed_transport_refuses_to_publish_and_wakes_its_reader(hub):
    client = hub.join("client")
    woken = threading.Event()

    def read():
        assert client.receive(60.0) is None
        woken.set()

    reader = threading.Thread(target=read, name="reader")
    reader.start()
    client.close()
    assert woken.wait(SOON_S)
    reader.join()
    assert client.state is ConnectionState.CLOSED
    with pytest.raises(errors.BrokerError, match="closed"):
        client.publish("t", b"")
    client.close()


def test_close_sends_what_was_accepted(hub):
    edge, cloud = hub.join("edge"), hub.join("cloud")
    cloud.subscribe("t")
    for number in range(100):
        edge.publish("t", b"%d" % number)
    edge.close(timeout_s=SOON_S)
    assert edge.counters.dropped[Drop.CLOSED] == 0
    assert edge.counters.acknowledged >= 100
    if not hub.forgets_the_gone:
        assert [int(take(cloud).payload) for _ in range(100)] == list(range(100))


def test_presence_says_online_and_then_closed(hub):
    watcher = hub.join("watcher")
    watcher.subscribe("site/edge/status")
    edge = hub.join("edge", presence=presence.Presence("site/edge/status", 0xB007))
    online = presence.parse(take(watcher).payload)
    assert (online.state, online.boot) == ("online", 0xB007)
    edge.close()
    offline = presence.parse(take(watcher).payload)
    assert (offline.state, offline.boot, offline.reason) == ("offline", 0xB007, "closed")
    assert not offline.is_late(online)


def test_after_an_interruption_subscriptions_and_presence_are_renewed(hub):
    if hub.interrupt is None:
        pytest.skip("this broker cannot be restarted on its port within a test")
    edge = hub.join("edge", presence=presence.Presence("site/edge/status", 1))
    cloud = hub.join("cloud")
    cloud.subscribe("t")
    hub.interrupt()
    wait_until_back(edge, cloud)
    watcher = hub.join("watcher")
    watcher.subscribe("site/edge/status")
    watcher.subscribe("t")
    while presence.parse(take(watcher).payload).state != "online":
        pass  # its last will, until it has said that it is back
    edge.publish("t", b"again")
    assert take(cloud).payload == b"again"


def wait_until_back(*clients):
    """Connected anew, once or oftener, and subscribed: what is asked for now is granted after what is renewed."""
    for client in clients:
        waiting.wait_for(lambda: client.counters.reconnects)  # noqa: B023 - called at once
        client.subscribe("back/#", timeout_s=SOON_S)


def test_after_unsubscribing_nothing_more_comes_and_what_came_stays(hub):
    sender, receiver = hub.join("sender"), hub.join("receiver")
    receiver.subscribe("a/#")
    receiver.subscribe("b/#")
    sender.publish("a/1", b"before")
    first = take(receiver)
    receiver.unsubscribe("a/#")
    sender.publish("a/1", b"after")
    sender.publish("b/1", b"other")

    assert (first.payload, take(receiver).payload) == (b"before", b"other")
    assert receiver.receive(A_MOMENT_S) is None


def test_what_was_unsubscribed_is_not_renewed_after_an_interruption(hub):
    if hub.interrupt is None:
        pytest.skip("this broker cannot be restarted on its port within a test")
    sender, receiver = hub.join("sender"), hub.join("receiver")
    for topic_filter in ("a/#", "b/#"):
        receiver.subscribe(topic_filter)
    receiver.unsubscribe("a/#")
    hub.interrupt()
    wait_until_back(sender, receiver)
    for topic in ("a/1", "b/1"):
        sender.publish(topic, b"x")

    assert take(receiver).topic == "b/1"
