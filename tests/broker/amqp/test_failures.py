"""Whatever a RabbitMQ ends a connection for, the words say what to do about it."""

import dataclasses
import socket
import threading

import pytest
import rabbit
import waiting

from broker.amqp import address as amqp_address
from broker.amqp import queue_names, transport
from broker.messages import topics
from broker.messages.topics import Kind
from broker.transport.address import Address, Credentials
from broker.transport.backoff import Backoff
from tflsplit import errors

SOON_S = waiting.WAIT_S

pytestmark = pytest.mark.timeout(600)


def refusal(where, *, patience_s=SOON_S, credentials=None):
    made = transport.AmqpTransport(where, name="x", credentials=credentials, connect_timeout_s=patience_s)
    with pytest.raises(errors.BrokerError) as refused:
        made.connect(timeout_s=SOON_S)
    assert rabbit.PASSWORD not in str(refused.value)
    return str(refused.value)


def at(rabbitmq, there, **change):
    """Its AMQP user at another of its addresses."""
    change = {"user": rabbit.USER, **change}
    return dataclasses.replace(rabbitmq.amqp, address=dataclasses.replace(there, **change))


def test_plain_at_the_port_for_tls_names_amqps(rabbitmq):
    there = rabbitmq.amqps.address

    assert f"it is amqps://localhost:{there.port} then; RabbitMQ's ports" in refusal(at(rabbitmq, there, tls=False))


def test_tls_at_the_plain_port_names_amqp(rabbitmq):
    where = at(rabbitmq, rabbitmq.amqp.address, tls=True)

    assert f"it is amqp://{where.address} then" in refusal(where, credentials=Credentials(ca=rabbitmq.ca))


def test_a_closed_port_and_one_for_mqtt_name_those_for_amqp(rabbitmq):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = Address("127.0.0.1", gone.getsockname()[1])

    ports = "RabbitMQ's ports for AMQP are 5672 and, with TLS, 5671"
    assert refusal(at(rabbitmq, closed)).endswith(f"Connection refused; {ports}")
    # RabbitMQ 3 says nothing there, 4 may hang up.
    assert refusal(at(rabbitmq, rabbitmq.mqtt), patience_s=1.0).endswith(f"; {ports}")


def test_a_wrong_password_names_the_user_and_the_option(rabbitmq):
    said = refusal(dataclasses.replace(rabbitmq.amqp, password="wrong"))

    assert "ACCESS_REFUSED - Login was refused" in said
    assert f"; look at the user '{rabbit.USER}' and at its password in --password-file" in said


def test_nobody_in_particular_is_told_of_guest_and_to_give_a_user(rabbitmq):
    nobody = amqp_address.AmqpAddress(dataclasses.replace(rabbitmq.amqp.address, user=None))

    assert f"give a user (amqp://USER@{nobody}) and --password-file" in refusal(nobody)


def test_a_certificate_without_the_plugin_for_it_names_the_plugin(rabbitmq):
    where = amqp_address.AmqpAddress(rabbitmq.amqps.address)

    assert "rabbitmq_auth_mechanism_ssl" in refusal(where, credentials=rabbitmq.certify("cloud-by-certificate"))


def test_a_virtual_host_that_is_not_there_names_the_command_that_makes_it(rabbitmq):
    assert "vhost none not found; make it (rabbitmqctl add_vhost none)" in refusal(
        dataclasses.replace(rabbitmq.amqp, vhost="none")
    )


def test_a_user_without_rights_is_told_where_they_are_described(rabbitmq):
    """At the virtual host, and, let in there, at the queue."""
    rabbitmq.ctl("add_user", "powerless", rabbit.PASSWORD)
    where = at(rabbitmq, rabbitmq.amqp.address, user="powerless")
    rights = "lacks rights there: `rabbitmqctl set_permissions` gives them, and docs/rabbitmq.md has them"
    assert rights in refusal(where)

    rabbitmq.ctl("set_permissions", "powerless", "^$", "^$", "^$")
    with transport.AmqpTransport(where, name="x", backoff=Backoff(first_s=0.02, most_s=0.2)) as made:
        made.connect(timeout_s=SOON_S)
        with pytest.raises(errors.BrokerError, match=r"access to queue .* refused") as refused:
            made.subscribe(topics.every_device("powerless", Kind.FEATURES), timeout_s=SOON_S)
    assert rights in str(refused.value)


def test_a_queue_of_other_bounds_says_how_it_is_made_anew(rabbitmq):
    import pika

    waiting_queue = queue_names.frames_of("otherwise").waiting.name
    proof = pika.PlainCredentials(rabbit.USER, rabbit.PASSWORD)
    there = rabbitmq.amqp.address
    with (
        pika.BlockingConnection(pika.ConnectionParameters(there.host, there.port, credentials=proof)) as connection,
        transport.AmqpTransport(rabbitmq.amqp, name="x") as made,
    ):
        connection.channel().queue_declare(waiting_queue, durable=True)
        made.connect(timeout_s=SOON_S)
        with pytest.raises(errors.BrokerError, match="delete it when it is empty, and it is made anew"):
            made.subscribe(topics.every_device("otherwise", Kind.FEATURES), timeout_s=SOON_S)


def test_a_broker_that_dies_while_it_looks_at_us_has_refused_nobody():
    """pika takes it for a wrong password."""
    # Connection.Start of version 0.9 without properties: its mechanism is PLAIN, its locale en_US.
    method = bytes.fromhex("000a000a 0009 00000000 00000005") + b"PLAIN" + bytes.fromhex("00000005") + b"en_US"
    start = b"\x01\0\0" + len(method).to_bytes(4, "big") + method + b"\xce"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def die():
            peer, _ = listener.accept()
            with peer:
                peer.recv(8)
                peer.sendall(start)
                peer.recv(1)

        dying = threading.Thread(target=die, name="dying")
        dying.start()
        where = amqp_address.parse(f"amqp://127.0.0.1:{listener.getsockname()[1]}")
        made = transport.AmqpTransport(where, name="x")
        with pytest.raises(errors.BrokerError):
            made.connect(timeout_s=SOON_S)
        dying.join()

    assert made.last_failure == "Connection reset by peer"
    assert not made._lost.is_for_good
