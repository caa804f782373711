"""Frames that wait in RabbitMQ for clouds, and results on their way back to devices that speak MQTT."""

import contextlib
import dataclasses
import itertools
import logging
import queue
import random
import socket
import threading

import pika
import pytest
import rabbit
import waiting

from broker.amqp import address as amqp_address
from broker.amqp import queue_names
from broker.amqp import transport as amqp_transport
from broker.messages import topics
from broker.messages.topics import Kind
from broker.mqtt import transport as mqtt_transport
from broker.transport import protocol
from broker.transport.address import Address, Credentials
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState, Drop
from tflsplit import errors

SOON_S = waiting.WAIT_S  # a bound for what happens at once, on a machine that has other things to do
A_MOMENT_S = 0.2  # how long to listen for what must not come
QUICKLY = Backoff(first_s=0.02, most_s=0.2, stable_s=0.0)
NUMBERS = itertools.count()

pytestmark = pytest.mark.timeout(600)  # RabbitMQ and its commands each start a virtual machine


@pytest.fixture
def deployment():
    """One that no other test has used."""
    return f"amqp-{next(NUMBERS)}"


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def cloud(rabbitmq, stack, deployment):
    """Connects clouds to the queue of the test's deployment."""

    def join(name="cloud", *, is_subscribed=True, where=rabbitmq.amqp, inbox=8, **options):
        limits = protocol.Limits(inbox_messages=inbox, **options.pop("limits", {}))
        made = amqp_transport.AmqpTransport(where, name=name, limits=limits, backoff=QUICKLY, **options)
        stack.callback(made.close, timeout_s=0)
        made.connect(timeout_s=SOON_S)
        if is_subscribed:
            made.subscribe(topics.every_device(deployment, Kind.FEATURES), timeout_s=SOON_S)
        return made

    return join


@pytest.fixture(params=rabbit.mqtt_versions(), ids="mqtt-{}".format)
def version(request):
    return request.param


@pytest.fixture
def device(rabbitmq, stack, deployment, version):
    """Connects devices over MQTT; what they are sent waits in them."""

    def join(name="cam"):
        client_id = f"{deployment}-{name}"
        made = mqtt_transport.MqttTransport(rabbitmq.mqtt, client_id=client_id, version=version, backoff=QUICKLY)
        stack.callback(made.close, timeout_s=0)
        made.connect(timeout_s=SOON_S)
        return made

    return join


@pytest.fixture
def channel(rabbitmq, stack):
    """RabbitMQ as another program sees it."""
    proof = pika.PlainCredentials(rabbit.USER, rabbit.PASSWORD)
    where = rabbitmq.amqp.address
    connection = pika.BlockingConnection(pika.ConnectionParameters(where.host, where.port, credentials=proof))
    stack.callback(connection.close)
    return connection.channel()


def features(deployment, name="cam"):
    return topics.topic(deployment, name, Kind.FEATURES)


def take(client):
    message = client.receive(SOON_S)
    assert message is not None, (client.state, client.last_failure)
    return message


def take_and_acknowledge(client):
    message = take(client)
    client.acknowledge(message)
    return message


def depth(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


@pytest.mark.parametrize("size", [0, 1, 12_544, 3_000_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_frame_arrives_as_it_was_sent_and_its_result_comes_back_at_qos_1(cloud, device, deployment, size, qos):
    serving, cam = cloud(), device()
    back = topics.topic(deployment, "cam", Kind.RESULTS)
    cam.subscribe(back)
    payload = random.Random(size).randbytes(size)

    cam.publish(features(deployment), payload, qos=qos)
    frame = take(serving)
    serving.publish(back, b"seven", qos=frame.qos)
    serving.acknowledge(frame, after_published=True)
    result = take(cam)

    assert (frame.topic, frame.payload, frame.duplicate) == (features(deployment), payload, False)
    assert (result.topic, result.payload, result.qos) == (back, b"seven", 1)
    assert serving.flush(SOON_S)
    assert (serving.counters.published, serving.counters.acknowledged, serving.counters.received) == (1, 1, 1)


def test_frames_wait_while_no_cloud_is_there_and_come_in_order(cloud, device, deployment):
    cloud().close()
    cam = device()
    for number in range(200):
        cam.publish(features(deployment), b"%d" % number)
    assert cam.flush(SOON_S)

    serving = cloud()
    found = []
    for _ in range(200):
        found.append(take(serving))
        serving.acknowledge(found[-1])

    assert [int(message.payload) for message in found] == list(range(200))
    assert not any(serving.counters.dropped.values())


def test_no_more_comes_than_the_inbox_holds_until_something_is_acknowledged(cloud, device, deployment):
    slow, quick = cloud("slow", inbox=3), cloud("quick", inbox=3)
    cam = device()
    for number in range(60):
        cam.publish(features(deployment), b"%d" % number)
    held = [take(slow) for _ in range(3)]
    for _ in range(57):
        quick.acknowledge(take(quick))

    assert slow.receive(A_MOMENT_S) is None
    slow.acknowledge(held[0])
    cam.publish(features(deployment), b"one more")
    assert {slow.receive(A_MOMENT_S) is None, quick.receive(A_MOMENT_S) is None} == {True, False}


@pytest.mark.parametrize("ending", ["close", "lost"])
def test_what_a_cloud_held_goes_to_another_and_says_so(cloud, device, deployment, ending):
    first, cam = cloud("first"), device()
    for number in range(6):
        cam.publish(features(deployment), b"%d" % number)
    done, *left = [take(first) for _ in range(6)]
    first.acknowledge(done)
    second = cloud("second")
    if ending == "close":
        first.close()
    else:
        waiting.wait_for(lambda: not first._shared.receipts)
        first._session._connection._transport._sock.shutdown(socket.SHUT_RDWR)
    found = [take(second) for _ in range(5)]

    assert {message.payload for message in found} == {message.payload for message in left}
    assert all(message.duplicate for message in found)


def test_a_frame_leaves_its_queue_only_after_its_result_is_confirmed(cloud, device, deployment, channel, rabbitmq):
    serving, cam = cloud(), device()
    cam.publish(features(deployment), b"frame")
    frame = take(serving)
    rabbitmq.freeze()
    try:
        serving.publish(topics.topic(deployment, "cam", Kind.RESULTS), b"result")
        serving.acknowledge(frame, after_published=True)
        waiting.wait_for(lambda: serving._session._in_flight)

        assert len(serving._shared.receipts) == 1
    finally:
        rabbitmq.thaw()
    waiting.wait_for(lambda: not serving._shared.receipts)
    serving.close()

    assert depth(channel, queue_names.frames_of(deployment).waiting.name) == 0


def test_unsubscribing_stops_frames_and_closing_hands_over_what_came_before(cloud, device, deployment):
    first, cam = cloud("first"), device()
    cam.publish(features(deployment), b"before")
    waiting.wait_for(lambda: first.counters.received == 1)
    first.unsubscribe(topics.every_device(deployment, Kind.FEATURES))
    cam.publish(features(deployment), b"after")
    assert cam.flush(SOON_S)

    assert take(first).payload == b"before"
    assert first.receive(A_MOMENT_S) is None
    first.close()
    second = cloud("second")
    assert {take(second).payload, take(second).payload} == {b"before", b"after"}


def test_a_broker_that_is_killed_keeps_the_frames_and_its_clouds_come_back(cloud, device, deployment, rabbitmq):
    serving, cam = cloud(), device()
    rabbitmq.save_its_queues()
    for number in range(20):
        cam.publish(features(deployment), b"%d" % number)
    assert cam.flush(SOON_S)
    rabbitmq.kill()
    assert serving.wait_for(ConnectionState.WAITING, SOON_S)
    serving.publish(topics.topic(deployment, "cam", Kind.RESULTS), b"meanwhile")
    rabbitmq.start()

    found = set()
    while len(found) < 20:
        message = take(serving)
        found.add(int(message.payload))
        serving.acknowledge(message)
    assert found == set(range(20))
    assert serving.counters.reconnects == 1
    assert serving.flush(SOON_S)


def test_subscribing_twice_is_one_subscription(cloud, deployment, channel):
    serving = cloud()
    serving.subscribe(topics.every_device(deployment, Kind.FEATURES), timeout_s=SOON_S)
    waiting = queue_names.frames_of(deployment).waiting

    assert channel.queue_declare(waiting.name, passive=True).method.consumer_count == 1


def test_a_queue_that_is_deleted_is_made_anew(cloud, device, deployment, channel):
    serving, cam = cloud(), device()
    channel.queue_delete(queue_names.frames_of(deployment).waiting.name)
    waiting.wait_for(lambda: serving.counters.reconnects == 1)
    assert serving.wait_for(ConnectionState.ONLINE, SOON_S)
    waiting.wait_for(
        lambda: all(wanted.answered and wanted.session == 2 for wanted in serving._shared.subscriptions.values())
    )
    cam.publish(features(deployment), b"again")

    assert take(serving).payload == b"again"


def test_a_frame_that_is_given_back_too_often_ends_among_the_dead(cloud, device, deployment, channel):
    cloud().close()
    names = queue_names.frames_of(deployment)
    device().publish(features(deployment), b"deadly")
    limit = names.waiting.arguments["x-delivery-limit"]
    for _ in range(limit + 1):
        tag = next(channel.consume(names.waiting.name))[0].delivery_tag
        channel.basic_nack(tag)
    channel.cancel()

    for method, properties, body in channel.consume(names.dead.name):
        assert body == b"deadly"
        assert properties.headers["x-first-death-reason"] == "delivery_limit"
        channel.basic_ack(method.delivery_tag)
        break
    channel.cancel()
    assert depth(channel, names.waiting.name) == 0


def test_a_full_queue_drops_its_oldest_frames_and_keeps_them_among_the_dead(
    monkeypatch, cloud, device, deployment, channel
):
    monkeypatch.setattr(queue_names, "_FRAMES", 10)
    cloud().close()
    cam = device()
    for number in range(30):
        cam.publish(features(deployment), b"%d" % number)
    assert cam.flush(SOON_S)
    names = queue_names.frames_of(deployment)
    waiting.wait_for(lambda: depth(channel, names.dead.name) == 20)

    serving = cloud()
    assert [int(take(serving).payload) for _ in range(8)] == list(range(20, 28))


def test_the_frame_of_a_device_with_a_dot_in_its_name_comes_and_names_no_device(cloud, device, deployment):
    serving = cloud()
    device("cam.1").publish(features(deployment, "cam.1"), b"frame")
    message = take(serving)

    with pytest.raises(errors.FrameError, match="expected tflsplit/v1/<deployment>/<device>/<kind>"):
        topics.parse(message.topic)


def test_a_queue_that_was_declared_otherwise_is_refused_with_the_brokers_reason(cloud, deployment, channel):
    channel.queue_declare(queue_names.frames_of(deployment).waiting.name, durable=True)
    serving = cloud(is_subscribed=False)

    with pytest.raises(errors.BrokerError, match="PRECONDITION_FAILED - inequivalent arg"):
        serving.subscribe(topics.every_device(deployment, Kind.FEATURES), timeout_s=SOON_S)


def test_a_frame_for_which_no_cloud_has_memory_is_given_back_counted_and_ends_among_the_dead(
    cloud, device, deployment, channel
):
    small = cloud("small", limits={"inbox_bytes": 4_000})
    device().publish(features(deployment), bytes(5_000))
    dead = queue_names.frames_of(deployment).dead.name
    waiting.wait_for(lambda: depth(channel, dead) == 1)

    assert small.counters.dropped[Drop.INBOX_FULL] > 1
    assert small.counters.received == 0


def test_a_frozen_broker_fills_the_outbox_and_no_more(cloud, rabbitmq, deployment):
    serving = cloud(limits={"outbox_messages": 5})
    topic = topics.topic(deployment, "cam", Kind.RESULTS)
    rabbitmq.freeze()
    try:
        taken = [serving.try_publish(topic, b"result") for _ in range(8)]
        with pytest.raises(errors.BrokerError, match=r"no room for a message on .* within 0 s, 5 messages"):
            serving.publish(topic, b"result", timeout_s=0.0)
    finally:
        rabbitmq.thaw()

    assert taken == [True] * 5 + [False] * 3
    assert serving.flush(SOON_S)
    assert serving.counters.acknowledged == 5


def test_closing_does_not_wait_for_a_broker_that_is_silent(cloud, rabbitmq, deployment):
    serving = cloud()
    rabbitmq.freeze()
    try:
        serving.publish(topics.topic(deployment, "cam", Kind.RESULTS), b"result")
        serving.close(timeout_s=0.1)
    finally:
        rabbitmq.thaw()

    assert serving.state is ConnectionState.CLOSED
    assert serving.counters.dropped[Drop.CLOSED] == 1


def test_results_published_before_closing_are_sent(cloud, device, deployment):
    cam, serving = device(), cloud()
    back = topics.topic(deployment, "cam", Kind.RESULTS)
    cam.subscribe(back)
    for number in range(100):
        serving.publish(back, b"%d" % number)
    serving.close(timeout_s=SOON_S)

    assert [int(take_and_acknowledge(cam).payload) for _ in range(100)] == list(range(100))
    assert not any(serving.counters.dropped.values())
    with pytest.raises(errors.BrokerError, match="closed"):
        serving.publish(back, b"")


def test_closing_a_cloud_that_is_still_connecting_ends_it_as_any_other(stack):
    """The broker of this one takes the connection and says nothing."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    silent = amqp_address.AmqpAddress(Address(*listener.getsockname(), rabbit.USER), password=rabbit.PASSWORD)
    connecting = amqp_transport.AmqpTransport(silent, name="x", backoff=QUICKLY)
    failures = queue.Queue()

    def connect():
        try:
            connecting.connect(timeout_s=SOON_S)
        except errors.BrokerError as problem:
            failures.put(problem)

    waiter = threading.Thread(target=connect, name="waiter")
    waiter.start()
    peer = stack.enter_context(listener.accept()[0])
    assert peer.recv(4) == b"AMQP"
    connecting.close()
    waiter.join()

    assert "closed" in str(failures.get_nowait())


def test_closing_wakes_whoever_waits_for_a_frame(cloud):
    serving = cloud()
    woken = threading.Event()
    reader = threading.Thread(target=lambda: (serving.receive(SOON_S), woken.set()), name="reader")
    reader.start()
    serving.close()
    assert woken.wait(SOON_S)
    reader.join()
    serving.close()


RIGHTS = r"^(amq\.topic|mqtt-subscription-tflsplit-{deployment}-cam-.*)$"


@pytest.fixture
def entitled_cloud(cloud, rabbitmq, deployment):
    """One whose user has the rights of docs/rabbitmq.md."""
    rights = rf"^(amq\.(default|topic)|tflsplit\.{deployment}\..*)$"
    user = f"{deployment}-cloud"
    rabbitmq.ctl("add_user", user, rabbit.PASSWORD)
    rabbitmq.ctl("set_permissions", user, rf"^tflsplit\.{deployment}\.", rights, rights)
    address = dataclasses.replace(rabbitmq.amqp.address, user=user)
    return cloud(where=dataclasses.replace(rabbitmq.amqp, address=address))


def test_device_and_cloud_have_the_rights_that_the_documentation_gives_them_and_no_others(
    entitled_cloud, rabbitmq, stack, deployment, version
):
    """As in docs/rabbitmq.md: a device's identity by certificate, queues and topics by name."""
    user = f"{deployment}-cam"  # a user is RabbitMQ's, not a deployment's
    topic, rights = rf"^tflsplit\.v1\.{deployment}\.cam\.", RIGHTS.format(deployment=deployment)
    rabbitmq.ctl("add_user", user, "unused")
    rabbitmq.ctl("clear_password", user)
    rabbitmq.ctl("set_permissions", user, rights.replace(r"amq\.topic|", ""), rights, rights)
    rabbitmq.ctl(
        "set_topic_permissions", user, "amq.topic", f"{topic}(features|status|birth|telemetry)$",
        f"{topic}(results|acks|control)$",
    )  # fmt: skip
    serving = entitled_cloud

    def device(name=user):
        made = mqtt_transport.MqttTransport(
            rabbitmq.mqtts, client_id=f"tflsplit-{deployment}-cam-0001", version=version,
            credentials=rabbitmq.certify(name), backoff=QUICKLY,
        )  # fmt: skip
        stack.callback(made.close, timeout_s=0)
        made.connect(timeout_s=SOON_S)
        return made

    cam = device()
    cam.subscribe(topics.topic(deployment, "cam", Kind.RESULTS), timeout_s=SOON_S)
    cam.publish(features(deployment), b"frame")
    assert take(serving).payload == b"frame"
    serving.publish(topics.topic(deployment, "cam", Kind.RESULTS), b"result")
    assert take(cam).payload == b"result"

    cam.publish(features(deployment, "other"), b"in another's name")
    waiting.wait_for(lambda: cam.counters.dropped[Drop.HUNG_UP_ON] == 1)
    assert serving.receive(A_MOMENT_S) is None
    curious = device()
    with pytest.raises(errors.BrokerError, match=r"subscription to .* failed"):
        curious.subscribe(topics.topic(deployment, "other", Kind.RESULTS), timeout_s=1.0)
    with pytest.raises(errors.BrokerError, match=r"[Nn]ot authori[sz]ed|refused"):
        device("nobody")
    with pytest.raises(errors.BrokerError, match="ACCESS_REFUSED"):
        serving.subscribe(topics.every_device("another", Kind.FEATURES), timeout_s=SOON_S)


def test_tls_needs_the_right_authority(cloud, device, deployment, rabbitmq):
    serving = cloud(where=rabbitmq.amqps, credentials=Credentials(ca=rabbitmq.ca))
    device().publish(features(deployment), b"frame")
    assert take(serving).payload == b"frame"

    with pytest.raises(errors.BrokerError, match="certificate not trusted"):
        cloud("stranger", where=rabbitmq.amqps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "s3cret"}, "ACCESS_REFUSED"),
        ({"vhost": "none"}, "vhost none not found"),
        ({"address": Address("127.0.0.1", 1, rabbit.USER)}, "Connection refused"),
    ],
)
def test_what_cannot_be_reached_is_refused_in_a_line_without_its_password(cloud, rabbitmq, caplog, change, message):
    caplog.set_level(logging.DEBUG)
    where = dataclasses.replace(rabbitmq.amqp, **change)

    with pytest.raises(errors.BrokerError, match=f"^RabbitMQ 127.0.0.1:.*{message}") as refused:
        cloud(where=where)
    assert "s3cret" not in str(refused.value) + repr(where) + caplog.text
    assert rabbit.PASSWORD not in str(refused.value) + repr(where) + caplog.text


def test_a_cloud_may_wait_for_a_broker_but_not_with_a_wrong_password(rabbitmq, stack):
    impatient = amqp_transport.AmqpTransport(
        dataclasses.replace(rabbitmq.amqp, password="no"), name="x", backoff=QUICKLY
    )
    stack.callback(impatient.close)
    with pytest.raises(errors.BrokerError, match="ACCESS_REFUSED"):
        impatient.connect(timeout_s=SOON_S, keep_trying=True)

    nobody = dataclasses.replace(rabbitmq.amqp, address=Address("127.0.0.1", 1, rabbit.USER))
    patient = amqp_transport.AmqpTransport(nobody, name="x", backoff=QUICKLY)
    stack.callback(patient.close)
    with pytest.raises(errors.BrokerError, match="Connection refused"):
        patient.connect(timeout_s=0.5, keep_trying=True)
    with pytest.raises(errors.BrokerError, match="was called before"):
        patient.connect()


def test_what_amqp_cannot_do_is_refused(cloud, deployment):
    serving = cloud()
    status = topics.topic(deployment, "cloud", Kind.STATUS)
    with pytest.raises(errors.BrokerError, match="nothing can be retained over AMQP"):
        serving.publish(status, b"online", retain=True)
    with pytest.raises(errors.BrokerError, match="takes a dot for a slash"):
        serving.publish(topics.topic(deployment, "cam.1", Kind.RESULTS), b"")
    with pytest.raises(errors.BrokerError, match="only the frames of a deployment wait there"):
        serving.subscribe(topics.every_device(deployment, Kind.RESULTS))
    with pytest.raises(errors.BrokerError, match="use a name without"):
        serving.subscribe(topics.every_device("plant.1", Kind.FEATURES))
    with pytest.raises(errors.BrokerError, match="the limit is 16777216"):
        serving.publish(topics.topic(deployment, "cam", Kind.RESULTS), bytes(17 << 20))
    with pytest.raises(errors.SettingsError, match="QoS 2"):
        serving.publish(status, b"", qos=2)
    assert serving.state is ConnectionState.ONLINE


def test_a_shared_subscription_is_the_same_queue():
    shared = queue_names.frames(topics.every_device("plant1", Kind.FEATURES, share="tails"))

    assert shared == queue_names.frames(topics.every_device("plant1", Kind.FEATURES)) == queue_names.frames_of("plant1")
    assert shared.waiting.name == "tflsplit.plant1.features"
    assert shared.binding == "tflsplit.v1.plant1.#.features"


ADDRESSES = {
    "amqp://host": ("host:5672", None, None, "/", False),
    "amqps://host/": ("host:5671", None, None, "/", True),
    "amqp://me@host:1234/plant": ("host:1234/plant", "me", None, "plant", False),
    "amqp://me:p%40ss@[::1]/a%2Fb": ("[::1]:5672/a/b", "me", "p@ss", "a/b", False),
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_addresses_are_read_as_rabbitmq_writes_them(url):
    found = amqp_address.parse(url)

    shown = (str(found), found.address.user, found.password, found.vhost, found.address.tls)
    assert shown == ADDRESSES[url]
    assert found.password is None or found.password not in repr(found)


@pytest.mark.parametrize(
    "url",
    ["host", "mqtt://u:s3cret@host", "amqp:///", "amqp://u:s3cret@host:0", "amqp://u:s3cret@host:x", "amqp://:s3cret@host",
     "amqp://u:s3cret@host/a/b", "amqp://u:s3cret@host?x=s3cret", "amqp://u:s3cret@host#x"],
)  # fmt: skip
def test_what_is_no_address_is_refused_without_repeating_its_password(url):
    with pytest.raises(errors.SettingsError, match="expected amqp://") as refused:
        amqp_address.parse(url)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "credentials", "message"),
    [
        ("amqp://me@host", Credentials(), r"user 'me' needs a password \(--password-file\) or"),
        ("amqp://host", Credentials(ca="ca.crt"), "give its address as amqps://"),
    ],
)
def test_credentials_that_cannot_be_shown_are_refused(url, credentials, message):
    with pytest.raises(errors.SettingsError, match=message):
        amqp_transport.AmqpTransport(amqp_address.parse(url), name="x", credentials=credentials)
