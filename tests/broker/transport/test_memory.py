import pytest

from broker.messages import presence
from broker.transport import memory, protocol
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import ConnectionState, Drop, Limits
from tflsplit import errors


def joined(broker, client_id, **options):
    client = MemoryTransport(broker, client_id=client_id, **options)
    client.connect()
    return client


def payloads(client):
    found = []
    while (message := client.receive(0.0)) is not None:
        client.acknowledge(message)
        found.append(message.payload)
    return found


@pytest.mark.parametrize(
    ("topic_filter", "topic", "fits"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+/+", "/x", True),
        ("#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "b/a", False),
        ("a/+/c/#", "a/b/c/d/e", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
    ],
)
def test_filters_match_as_mqtt_says(topic_filter, topic, fits):
    assert memory.matches(topic_filter, topic) is fits


def test_messages_are_lost_and_doubled_when_told_to():
    fates = {b"lost": 0, b"once": 1, b"twice": 2}
    client = joined(MemoryBroker(copies=lambda _, payload: fates[payload]), "client")
    client.subscribe("t")
    for payload in fates:
        client.publish("t", payload)
    assert payloads(client) == [b"once", b"twice", b"twice"]


def test_cut_connection_leaves_a_will_and_comes_back_only_when_restored():
    broker = MemoryBroker()
    watcher = joined(broker, "watcher")
    watcher.subscribe("status")
    edge = joined(broker, "edge", presence=presence.Presence("status", 5))
    broker.cut("edge")
    assert edge.state is ConnectionState.WAITING
    edge.publish("t", b"kept")
    assert edge.held == (1, protocol.publish_packet_bytes("t", 4, qos=1, expires=False))
    broker.restore("edge")
    assert edge.state is ConnectionState.ONLINE
    assert edge.held == (0, 0)
    statuses = [presence.parse(payload) for payload in payloads(watcher)]
    assert [(status.state, status.connection) for status in statuses] == [("online", 1), ("offline", 1), ("online", 2)]


def test_outbox_is_bounded_while_offline():
    broker = MemoryBroker()
    edge = joined(broker, "edge", limits=Limits(outbox_messages=3))
    broker.cut("edge")
    assert [edge.try_publish("t", b"x") for _ in range(5)] == [True, True, True, False, False]
    with pytest.raises(errors.BrokerError, match="is waiting: no room for a message on t within 0 s, 3 messages"):
        edge.publish("t", b"x", timeout_s=0)
    edge.close(timeout_s=0)
    assert edge.counters.dropped[Drop.CLOSED] == 3


def test_message_that_expired_while_offline_is_dropped_and_counted():
    now_s = [0.0]
    broker = MemoryBroker()
    edge = joined(broker, "edge", clock=lambda: now_s[0])
    edge.subscribe("t")
    broker.cut("edge")
    edge.publish("t", b"stale", expiry_s=1.0)
    edge.publish("t", b"fresh", expiry_s=3.0)
    now_s[0] = 2.0
    broker.restore("edge")
    assert payloads(edge) == [b"fresh"]
    assert edge.counters.dropped[Drop.EXPIRED] == 1


def test_durable_session_gets_what_it_missed_and_what_it_did_not_acknowledge():
    broker = MemoryBroker()
    edge = joined(broker, "edge")
    cloud = joined(broker, "cloud", session_expiry_s=60)
    cloud.subscribe("t")
    edge.publish("t", b"unacknowledged")
    assert cloud.receive(0.0) is not None
    broker.cut("cloud")
    edge.publish("t", b"missed")
    edge.publish("t", b"missed at QoS 0", qos=0)
    broker.restore("cloud")
    first, second = cloud.receive(0.0), cloud.receive(0.0)
    assert (first.payload, first.duplicate, second.payload) == (b"unacknowledged", True, b"missed")
    assert cloud.receive(0.0) is None


def test_slow_subscriber_loses_at_the_broker_what_mosquitto_would_drop_too():
    broker = MemoryBroker()
    edge = joined(broker, "edge")
    joined(broker, "cloud", limits=protocol.Limits(inbox_messages=10)).subscribe("t")
    for _ in range(1100):
        edge.publish("t", b"x")
    assert edge.counters.acknowledged == 1100
    assert broker.dropped == 90


def test_broker_limit_is_told_and_kept():
    edge = joined(MemoryBroker(max_packet_bytes=100), "edge")
    assert edge.max_packet_bytes == 100
    with pytest.raises(errors.BrokerError, match="the limit is 100"):
        edge.publish("t", bytes(100))


def test_absent_broker_and_taken_name_are_refused():
    broker = MemoryBroker()
    joined(broker, "edge")
    with pytest.raises(errors.BrokerError, match="client id 'edge' is in use"):
        joined(broker, "edge")
    broker.stop()
    with pytest.raises(errors.BrokerError, match="cannot be reached"):
        joined(broker, "other")
