import socket

import pytest
import waiting

from broker.links import reachability
from broker.local import server
from broker.transport import address
from broker.transport.memory import MemoryBroker, MemoryTransport
from tflsplit.findings import State

SOON_S = waiting.WAIT_S


def test_broker_tells_its_version_its_limit_and_its_speed(mosquitto_with):
    broker = mosquitto_with("max_packet_size 131072")

    reached, round_trip = reachability.probe(broker.address, timeout_s=SOON_S)

    assert reached.state is State.OK
    assert reached.detail == f"{broker.address} speaks MQTT 5, takes packets of up to 131,072 bytes"
    assert round_trip.state is State.OK
    assert "ms at QoS 1" in round_trip.detail


def test_broker_of_mqtt_3_is_reached_too():
    if "amqtt" not in server.available():
        pytest.skip("amqtt is not installed; the extra demo brings it")
    with server.run(port=0, kind="amqtt") as broker:
        reached, round_trip = reachability.probe(broker.address, timeout_s=SOON_S)

    assert "speaks MQTT 3.1.1, takes packets of any size" in reached.detail
    assert round_trip.state is State.OK


def test_broker_that_is_not_there_is_wrong():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = address.Address("127.0.0.1", free.getsockname()[1])

        (found,) = reachability.probe(where)

    assert found.state is State.WRONG
    assert "Connection refused" in found.detail


def test_broker_that_refuses_us_is_wrong(scripted):
    not_authorized = bytes.fromhex("2003008700")

    (found,) = reachability.probe(scripted(not_authorized).address, timeout_s=SOON_S)

    assert found.state is State.WRONG
    assert "not authorized" in found.detail.lower()


def test_server_that_is_no_broker_is_wrong():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = address.Address("127.0.0.1", listener.getsockname()[1])

        (found,) = reachability.probe(where, timeout_s=0.2)

    assert found.state is State.WRONG


def test_access_rules_that_keep_the_message_away_are_told_apart_from_a_slow_broker(mosquitto_with, tmp_path):
    rules = tmp_path / "rules"
    rules.write_text("topic read nothing\n")
    broker = mosquitto_with(f"acl_file {rules}")

    reached, round_trip = reachability.probe(broker.address, timeout_s=SOON_S)

    assert reached.state is State.OK
    assert round_trip.state is State.INFO
    assert "not measured" in round_trip.detail


def test_nothing_is_sent_where_the_broker_would_refuse_it(mosquitto_with, caplog):
    _, round_trip = reachability.probe(mosquitto_with("").address, is_bound=True, timeout_s=SOON_S)

    assert (round_trip.state, round_trip.detail[:12]) == (State.INFO, "not measured")
    assert "refused" not in caplog.text


def test_round_trip_is_measured_on_any_transport():
    with MemoryTransport(MemoryBroker(), client_id="doctor") as online:
        online.connect()

        assert reachability.round_trip(online, "doctor-1", 0.0).state is State.OK


@pytest.mark.parametrize(
    ("took_ms", "link_ms", "state"),
    [(0.3, 0.1, State.OK), (60.0, 55.0, State.OK), (43.9, 0.1, State.WRONG), (87.9, 12.0, State.WRONG)],
)
def test_stall_of_40_ms_is_told_from_a_slow_link(took_ms, link_ms, state):
    found = reachability.judge_round_trip(took_ms / 1000, link_ms / 1000)

    assert found.state is state
    assert ("set_tcp_nodelay true" in found.remedy) == (state is State.WRONG)
