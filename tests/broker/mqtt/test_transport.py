"""The traps of MQTT brokers and of the client library under us, each one sprung once."""

import queue
import statistics
import threading
import time

import pytest
import waiting
from waiting import wait_for

from broker.messages import presence
from broker.mqtt import transport
from broker.mqtt.connection import Connection, Version
from broker.transport import address, protocol
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState, Drop, Limits
from broker.transport.state import Lost
from tflsplit import errors

SOON_S = waiting.WAIT_S
A_MOMENT_S = 0.05

ACCEPT_311 = bytes.fromhex("20020000")


def connack_5(reason=0, *, receive_maximum=None, max_packet_bytes=None):
    properties = b""
    if receive_maximum is not None:
        properties += b"\x21" + receive_maximum.to_bytes(2, "big")
    if max_packet_bytes is not None:
        properties += b"\x27" + max_packet_bytes.to_bytes(4, "big")
    return bytes([0x20, 3 + len(properties), 0, reason, len(properties)]) + properties


@pytest.fixture(autouse=True, params=["fast", "plain"])
def _paho(request):
    """Every test here runs over both kinds of connection."""
    if request.param == "plain":
        request.getfixturevalue("plain_paho")


def take(client):
    message = client.receive(SOON_S)
    assert message is not None, "nothing came"
    client.acknowledge(message)
    return message


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("size", [1_000, 12_544])
def test_stock_broker_with_nagle_on_costs_no_40_ms(mosquitto, join, qos, size):
    edge, cloud = join(mosquitto.address, "edge"), join(mosquitto.address, "cloud")
    cloud.subscribe("features", qos=qos)
    edge.subscribe("results", qos=qos)
    payload = bytes(size)
    rounds = 25

    def serve():
        for _ in range(rounds):
            take(cloud)
            cloud.publish("results", b"{}", qos=qos)

    worker = threading.Thread(target=serve, name="cloud")
    worker.start()
    elapsed_s = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        edge.publish("features", payload, qos=qos)
        take(edge)
        elapsed_s.append(time.perf_counter() - began_s)
    worker.join()

    # It takes 0.3 ms, and 44 or 88 ms with any of the socket options missing; a busy machine stays far below 20.
    assert statistics.median(elapsed_s) < 0.020


@pytest.mark.parametrize("qos", [0, 1])
def test_queue_in_front_of_a_frozen_broker_is_bounded_and_then_delivered(mosquitto, join, qos):
    limits = Limits(outbox_messages=50, outbox_bytes=3_000_000)
    cloud = join(mosquitto.address, "cloud", limits=Limits(inbox_messages=60_000))
    cloud.subscribe("t", qos=qos)
    edge = join(mosquitto.address, "edge", limits=limits)
    mosquitto.freeze()
    payload = bytes(100_000)
    accepted = 0
    try:
        # The sockets' buffers take some megabytes first, at QoS 0.
        while edge.try_publish("t", payload, qos=qos) or wait_for_room(edge, payload, qos):
            accepted += 1
            assert accepted < 1_000, "nothing bounds the queue"
        messages, held_bytes = edge.held
        assert messages <= limits.outbox_messages
        assert held_bytes <= limits.outbox_bytes
        with pytest.raises(errors.BrokerError, match=r"no room for a message on t within 0.01 s, \d+ messages"):
            edge.publish("t", payload, qos=qos, timeout_s=0.01)
    finally:
        mosquitto.thaw()
    for _ in range(accepted):
        assert len(take(cloud).payload) == len(payload)


def wait_for_room(edge, payload, qos):
    """Whether the socket takes some more if it is given a moment."""
    try:
        edge.publish("t", payload, qos=qos, timeout_s=0.2)
    except errors.BrokerError:
        return False
    return True


def test_packet_over_the_brokers_limit_is_refused_and_harms_nothing(mosquitto_with, join):
    broker = mosquitto_with("max_packet_size 20000")
    client = join(broker.address, "client")
    client.subscribe("t")
    assert client.max_packet_bytes == 20_000

    client.publish("t", b"before")
    with pytest.raises(errors.BrokerError, match=r"packet of 300.. bytes, the limit is 20000: choose a cut"):
        client.publish("t", bytes(30_000))
    client.publish("t", b"after")

    assert [take(client).payload, take(client).payload] == [b"before", b"after"]
    assert client.counters.reconnects == 0


def test_a_limit_that_the_broker_does_not_announce_is_found_and_harms_nothing(mosquitto_with, join, caplog):
    broker = mosquitto_with("message_size_limit 4000")
    edge, cloud = join(broker.address, "edge"), join(broker.address, "cloud")
    cloud.subscribe("features", qos=1)

    for payload_bytes in (15_000, 6_000):  # as a sender does who keeps below the limit
        edge.publish("features", bytes(payload_bytes))
        assert edge.flush(SOON_S)
    assert edge.counters.dropped[Drop.REFUSED] == 2
    with pytest.raises(errors.BrokerError, match=r"packet of 60.. bytes, the limit is 30..: .*send in chunks"):
        edge.publish("features", bytes(6_000))
    edge.publish("features", bytes(2_500))

    assert len(take(cloud).payload) == 2_500
    assert edge.counters.reconnects == 0
    assert "Packet too large" in caplog.text


def test_packet_that_an_older_broker_hangs_up_on_is_given_up_and_lets_the_rest_pass(mosquitto_with, join):
    broker = mosquitto_with("max_packet_size 20000")
    client = join(broker.address, "client", version=Version.MQTT_311)
    client.subscribe("t")

    client.publish("t", bytes(30_000))
    client.publish("t", b"behind it")

    assert take(client).payload == b"behind it"
    assert client.counters.dropped[Drop.HUNG_UP_ON] == 1


def test_what_follows_a_message_that_is_given_up_is_given_up_with_it(scripted, join):
    broker = scripted(*[connack_5()] * 4)
    client = join(broker.address, "client")
    assert client.try_publish("result", bytes(100), then=("ack", b"done"))
    for _ in range(3):
        assert broker.next_publish() is not None
        broker.hang_up()
    client.publish("t", b"behind it")
    broker.acknowledge(broker.next_publish())

    assert client.flush(SOON_S)
    assert client.counters.dropped[Drop.HUNG_UP_ON] == 2
    assert broker.next_publish(A_MOMENT_S) is None


def test_what_follows_a_message_leaves_once_the_broker_has_that(scripted, join):
    broker = scripted(connack_5())
    client = join(broker.address, "client")
    broker.publish("t", b"question", 7)
    assert client.try_publish("result", bytes(100), then=("ack", b"done"))
    client.acknowledge(client.receive(SOON_S), after_published=True)
    result = broker.next_publish()
    assert broker.next_publish(A_MOMENT_S) is None
    with pytest.raises(queue.Empty):
        broker.acknowledged.get(timeout=A_MOMENT_S)
    broker.acknowledge(result)
    broker.acknowledge(broker.next_publish())

    assert broker.acknowledged.get(timeout=SOON_S) == 7
    assert client.flush(SOON_S)


def test_what_is_done_with_a_message_is_acknowledged_behind_it(scripted, join):
    broker = scripted(connack_5(receive_maximum=1))
    client = join(broker.address, "client")
    broker.publish("t", b"question", 7)
    question = client.receive(SOON_S)
    client.publish("t", b"fills the window")
    assert client.try_publish("result", b"x", done=[question])
    first = broker.next_publish()
    with pytest.raises(queue.Empty):
        broker.acknowledged.get(timeout=A_MOMENT_S)
    broker.acknowledge(first)

    assert broker.acknowledged.get(timeout=SOON_S) == 7
    broker.acknowledge(broker.next_publish())
    assert client.flush(SOON_S)


def test_a_connection_was_of_use_once_it_carried_a_message_other_than_about_itself(mosquitto, join):
    """After which its loss is no hanging up (`Backoff`)."""
    client = join(mosquitto.address, "client", presence=presence.Presence("status", 1))
    assert client.flush(SOON_S)
    assert not client._shared.has_passed

    client.publish("t", b"x")
    assert client.flush(SOON_S)
    assert client._shared.has_passed


def test_a_broker_that_hangs_up_after_each_connection_is_warned_of_once(scripted, join, caplog):
    broker = scripted(*[connack_5()] * 6)
    client = join(broker.address, "client", backoff=Backoff(first_s=0.01, most_s=0.01, stable_s=60.0))
    for number in range(5):
        wait_for(lambda wanted=number: client.counters.reconnects >= wanted)
        client.wait_for(ConnectionState.ONLINE, SOON_S)
        broker.hang_up()
    wait_for(lambda: client.counters.reconnects == 5)

    said = [record.getMessage() for record in caplog.records if "hangs up soon" in record.getMessage()]
    assert len(said) == 1
    assert "hangs up soon after each connection times=3" in said[0]
    assert "has this client a right to the topics" in said[0]


def test_message_published_while_the_broker_is_away_arrives_after(mosquitto, join):
    client = join(mosquitto.address, "client")
    client.subscribe("t")
    mosquitto.kill()
    waiting.wait_for(lambda: client.state is not ConnectionState.ONLINE)

    for number in range(30):
        client.publish("t", b"%d" % number)
    client.publish("t", b"too late", expiry_s=1e-6)
    mosquitto.start()

    assert [int(take(client).payload) for _ in range(30)] == list(range(30))
    assert client.flush(SOON_S)
    assert client.counters.dropped[Drop.EXPIRED] == 1
    assert client.counters.reconnects == 1


def test_receive_maximum_of_the_broker_is_obeyed(scripted, join):
    broker = scripted(connack_5(receive_maximum=2))
    client = join(broker.address, "client", limits=Limits(window=10))
    for _ in range(4):
        client.publish("t", b"x")

    first, second = broker.next_publish(), broker.next_publish()
    assert broker.next_publish(A_MOMENT_S) is None, "a third message went out with two unacknowledged"
    broker.acknowledge(first)
    third = broker.next_publish()
    assert third is not None
    assert broker.next_publish(A_MOMENT_S) is None
    broker.acknowledge(second)
    broker.acknowledge(third)
    broker.acknowledge(broker.next_publish())
    assert client.flush(SOON_S)


def test_an_answer_goes_out_before_the_acknowledgement_of_what_it_answers(scripted, join):
    broker = scripted(connack_5(receive_maximum=1))
    client = join(broker.address, "client")
    broker.publish("t", b"question", 7)
    broker.publish("t", b"other", 8)
    question, other = client.receive(SOON_S), client.receive(SOON_S)
    client.publish("t", b"fills the window")
    client.publish("t", b"answer")
    client.acknowledge(question, after_published=True)
    first = broker.next_publish()
    client.acknowledge(other)
    with pytest.raises(queue.Empty):
        broker.acknowledged.get(timeout=A_MOMENT_S)
    broker.acknowledge(first)
    broker.acknowledge(broker.next_publish())

    assert [broker.acknowledged.get(timeout=SOON_S) for _ in range(2)] == [7, 8]
    assert client.flush(SOON_S)


def test_unacknowledged_messages_are_sent_again_in_order_within_the_new_brokers_window(scripted, join):
    broker = scripted(connack_5(), connack_5(receive_maximum=1))
    client = join(broker.address, "client")
    for _ in range(3):
        client.publish("t", b"x")
        assert broker.next_publish() is not None
    broker.hang_up()
    again = broker.next_publish()
    assert again is not None
    assert broker.next_publish(A_MOMENT_S) is None
    for _ in range(3):
        broker.acknowledge(again)
        again = broker.next_publish(A_MOMENT_S)
    assert client.flush(SOON_S)
    assert client.counters.published == 3
    assert client.counters.resent == 3


def test_smaller_limit_after_a_reconnection_drops_what_no_longer_fits(scripted, join):
    broker = scripted(connack_5(receive_maximum=1), connack_5(max_packet_bytes=100))
    client = join(broker.address, "client")
    client.publish("t", b"first")
    client.publish("t", bytes(500))
    client.publish("t", b"last")
    assert broker.next_publish() is not None
    broker.hang_up()
    broker.acknowledge(broker.next_publish())
    broker.acknowledge(broker.next_publish())
    assert client.flush(SOON_S)
    assert client.counters.dropped[Drop.TOO_LARGE] == 1
    assert client.max_packet_bytes == 100


def test_busy_consumer_does_not_hold_up_the_network_thread(mosquitto, join):
    cloud = join(mosquitto.address, "cloud")
    cloud.subscribe("t")
    is_busy, may_finish = threading.Event(), threading.Event()

    def consume():
        take(cloud)
        assert not threading.current_thread().name.startswith("mqtt-")
        is_busy.set()
        may_finish.wait(SOON_S)

    consumer = threading.Thread(target=consume, name="consumer")
    consumer.start()
    cloud.publish("t", b"work")
    assert is_busy.wait(SOON_S)
    cloud.publish("other", b"meanwhile")
    assert cloud.flush(SOON_S), "nothing was acknowledged while the consumer was busy"
    may_finish.set()
    consumer.join()


def test_broker_that_is_not_there_is_named(join):
    with pytest.raises(errors.BrokerError, match=r"broker 127.0.0.1:1: Connection refused"):
        join(address.Address("127.0.0.1", 1), "client")


def test_unknown_host_is_named(join):
    with pytest.raises(errors.BrokerError, match=r"broker no-such-host\.invalid:1883: "):
        join(address.parse("mqtt://no-such-host.invalid"), "client")


def test_broker_that_comes_later_is_waited_for_when_told_to(mosquitto, join):
    mosquitto.kill()
    client = join(mosquitto.address, "client", is_connected=False)
    connecting = threading.Thread(
        target=client.connect, kwargs={"timeout_s": SOON_S, "keep_trying": True}, name="connecting"
    )
    connecting.start()
    assert client.wait_for(ConnectionState.WAITING, SOON_S)
    mosquitto.start()
    connecting.join()
    assert client.state is ConnectionState.ONLINE


def test_what_is_said_and_asked_for_before_the_first_connection_is_not_lost(mosquitto, join):
    mosquitto.kill()
    client = join(mosquitto.address, "client", is_connected=False)
    client.begin()
    client.subscribe("echo", qos=1)
    client.publish("echo", b"said before", qos=1)
    assert client.wait_for(ConnectionState.WAITING, SOON_S)
    mosquitto.start()

    assert take(client).payload == b"said before"


def test_who_begins_and_is_refused_is_closed_for_good(scripted, join):
    broker = scripted(connack_5(0x86), connack_5(0x86))
    client = join(broker.address, "client", is_connected=False)
    client.begin()

    assert client.wait_for(ConnectionState.CLOSED, SOON_S)
    assert client.last_failure.startswith("refused: Bad user name or password (0x86)")


def test_waiting_for_a_broker_ends_with_the_reason(join):
    client = join(address.Address("127.0.0.1", 1), "client", is_connected=False)
    with pytest.raises(errors.BrokerError, match="Connection refused"):
        client.connect(timeout_s=0.2, keep_trying=True)
    assert client.state is ConnectionState.CLOSED


def test_refused_credentials_name_the_reason_code(scripted, join):
    broker = scripted(connack_5(0x86), connack_5(0x86))
    client = join(broker.address, "client", is_connected=False)
    with pytest.raises(errors.BrokerError, match=r"refused: Bad user name or password \(0x86\)"):
        client.connect(timeout_s=SOON_S, keep_trying=True)


def test_refused_credentials_name_the_reason_code_on_3_1_1_too(scripted, join):
    broker = scripted(bytes.fromhex("20020005"))
    client = join(broker.address, "client", version=Version.MQTT_311, is_connected=False)
    with pytest.raises(errors.BrokerError, match=r"refused: Not authorized \(0x87\)"):
        client.connect(timeout_s=SOON_S, keep_trying=True)


@pytest.mark.parametrize(
    "answer", [connack_5(0x84), bytes.fromhex("20020001"), b""], ids=["reason 0x84", "3.1.1's code 1", "hangs up"]
)
def test_broker_without_mqtt_5_gets_3_1_1_at_once(scripted, join, answer):
    broker = scripted(answer, ACCEPT_311)
    client = join(broker.address, "client")
    assert client.version is Version.MQTT_311
    assert client.counters.reconnects == 0


def test_broker_that_does_not_answer_mqtt_5_gets_3_1_1(scripted, join, monkeypatch):
    monkeypatch.setattr(transport, "_VERSION_TIMEOUT_S", 0.05)
    client = join(scripted(None, ACCEPT_311).address, "client")
    assert client.version is Version.MQTT_311


@pytest.mark.parametrize("is_sending", [False, True])
def test_a_broker_that_hangs_is_noticed_and_left(mosquitto, join, is_sending):
    client = join(mosquitto.address, "client", keepalive_s=1, connect_timeout_s=0.2)
    mosquitto.freeze()
    try:
        if is_sending:
            client.publish("t", b"x")
        assert client.wait_for(ConnectionState.WAITING, SOON_S)
        assert client._lost.reason.startswith("the broker was not heard for")
    finally:
        mosquitto.thaw()
    assert client.wait_for(ConnectionState.ONLINE, SOON_S)


def test_while_a_link_is_dead_many_short_attempts_are_made_and_now_and_then_a_long_one(mosquitto, join, monkeypatch):
    patiences_s = []

    def opened(connection, tcp_s):
        patiences_s.append(tcp_s)
        return Lost("nothing answers", is_silent=True)

    backoff = Backoff(first_s=0.001, most_silent_s=0.001, most_alive_s=0.001)
    client = join(mosquitto.address, "client", keepalive_s=1, backoff=backoff)
    monkeypatch.setattr(Connection, "open", opened)
    mosquitto.freeze()
    try:
        wait_for(lambda: len(patiences_s) >= 61)
    finally:
        mosquitto.thaw()
    assert set(patiences_s) == {1.5, 10.0}
    assert [number for number, patience_s in enumerate(patiences_s[:61], 1) if patience_s == 10.0] == [30, 60]

    client.close()


def test_version_asked_for_is_not_changed(scripted, join):
    broker = scripted(connack_5(0x84), ACCEPT_311)
    with pytest.raises(errors.BrokerError, match=r"Unsupported protocol version \(0x84\)"):
        join(broker.address, "client", version=Version.MQTT_5)


def test_garbage_from_a_broker_is_a_lost_connection(scripted, join):
    broker = scripted(bytes.fromhex("20ffffffffff"), bytes.fromhex("20ffffffffff"))
    with pytest.raises(errors.BrokerError, match=r"broker 127\.0\.0\.1"):
        join(broker.address, "client")


def test_messages_wait_at_the_broker_for_a_client_that_keeps_its_session(mosquitto, join):
    edge = join(mosquitto.address, "edge")
    away = join(mosquitto.address, "cloud", session_expiry_s=60)
    away.subscribe("t")
    edge.publish("t", b"taken, not acknowledged")
    assert away.receive(SOON_S) is not None
    away.close()
    edge.publish("t", b"while away")
    assert edge.flush(SOON_S)

    back = join(mosquitto.address, "cloud", session_expiry_s=60)

    again, fresh = take(back), take(back)
    assert (again.payload, again.duplicate) == (b"taken, not acknowledged", True)
    assert (fresh.payload, fresh.duplicate) == (b"while away", False)


def test_last_will_tells_which_boot_and_connection_it_was(mosquitto, join):
    watcher = join(mosquitto.address, "watcher")
    watcher.subscribe("status")
    never = Backoff(first_s=1e6, most_s=1e6)
    join(mosquitto.address, "edge", presence=presence.Presence("status", 1), backoff=never)
    first = presence.parse(take(watcher).payload)
    join(mosquitto.address, "edge", presence=presence.Presence("status", 2))  # the broker hangs up on the first

    later = {(status.boot, status.state): status for status in (presence.parse(take(watcher).payload) for _ in "12")}

    will, second = later[1, "offline"], later[2, "online"]
    assert will.reason == "lost"
    assert not will.is_late(first)
    assert will.is_late(second)


def test_close_gives_up_at_its_deadline_and_counts_what_was_left(mosquitto, join):
    client = join(mosquitto.address, "client")
    mosquitto.kill()
    waiting.wait_for(lambda: client.state is not ConnectionState.ONLINE)
    for _ in range(5):
        client.publish("t", b"x")
    client.close(timeout_s=0.05)
    assert client.counters.dropped[Drop.CLOSED] == 5
    assert client.held == (0, 0)


def test_threads_have_names_and_end(mosquitto, join):
    client = join(mosquitto.address, "camera-7")
    assert "mqtt-camera-7" in {thread.name for thread in threading.enumerate()}
    client.close()
    assert "mqtt-camera-7" not in {thread.name for thread in threading.enumerate()}


def test_state_changes_are_logged_once_each(mosquitto, join, caplog):
    caplog.set_level("INFO", logger="broker.transport.reconnecting")
    client = join(mosquitto.address, "client")
    client.close()
    said = [record.getMessage() for record in caplog.records if record.msg.startswith("connection state=")]
    assert said == [
        f"connection state=connecting broker={mosquitto.address}",
        f"connection state=online broker={mosquitto.address} mqtt=5",
        f"connection state=closed broker={mosquitto.address} mqtt=5 reason='closed'",
    ]


def test_backoff_doubles_is_bounded_and_differs_between_devices():
    class Most:
        def uniform(self, low, high):
            return high

    backoff = Backoff(first_s=0.5, most_s=20.0)
    assert [backoff.wait_s(attempt, Most()) for attempt in range(7)] == [0.5, 1, 2, 4, 8, 16, 20]
    assert backoff.wait_s(100_000, Most()) == 20.0


@pytest.mark.parametrize("limits", [{"window": 0}, {"outbox_messages": -1}, {"inbox_messages": 65_536}])
def test_limits_that_cannot_work_are_refused(limits):
    with pytest.raises(errors.SettingsError, match="limit"):
        protocol.Limits(**limits)


def test_an_address_is_taken_as_a_text_and_what_is_none_is_refused_in_our_words():
    with transport.MqttTransport("mqtt://localhost:1", client_id="n") as made, pytest.raises(errors.BrokerError):
        made.connect()  # where nobody listens
    for wrong in ({"address": 3}, {"address": "localhost"}, {"client_id": 3}, {"keepalive_s": "20"}):
        with pytest.raises(errors.SettingsError):
            transport.MqttTransport(**({"address": "mqtt://localhost:1", "client_id": "n"} | wrong))
