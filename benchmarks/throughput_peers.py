"""The processes of `transport_throughput`: one role each, told by its arguments as JSON, told to end by being killed.

Counting roles print that they are ready, and then the frames a second that they had between the end of a warm-up and
the end of the measurement.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from broker.cloud import engine, subscriber
from broker.messages import topics, wire
from broker.mqtt import transport
from broker.transport import address, credentials
from tflsplit.coding import feature_codec
from tflsplit.package import reading

# Frames that paho's publisher may have outside: without a bound it would queue without end.
_PAHO_WINDOW = 256
# Frames that the edge has unanswered, as `tflsplit edge --window` bounds them.
_EDGE_WINDOW = 64
# As long as a result is.
_ANSWER = bytes(600)


def main() -> None:
    told = json.loads(sys.argv[1])
    roles = (_paho_publisher, _paho_subscriber, _publisher, _receiver, _edge, _cloud)
    {role.__name__.removeprefix("_"): role for role in roles}[told["role"]](told)


def _frames(told: dict):
    """Encoded frames without end, as an edge would make them."""
    opened = reading.open_package(Path(told["package"]))
    cut = opened.cut("output")
    arrays = tuple(np.random.default_rng(1).integers(-128, 128, spec.shape, dtype=np.int8) for spec in cut.boundary)
    digest, coder, boot = bytes.fromhex(opened.digest)[: wire.PACKAGE_BYTES], feature_codec.Plain(), time.time_ns()
    sequence = 0
    while True:
        yield wire.encode(
            wire.Frame(digest, cut.position, boot, sequence, time.time_ns(), 0, cut.boundary), arrays, coder
        )
        sequence += 1


def _access(told: dict, who: str) -> tuple[address.Address, address.Credentials]:
    if told["clients"]:
        bundle = credentials.open_bundle(Path(told["clients"]) / told[who])
        return bundle.address, bundle.credentials
    return address.Address("127.0.0.1", told["port"]), address.Credentials()


def _paho_client(told: dict, who: str) -> paho.Client:
    where, proof = _access(told, who)
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    if where.tls:
        client.tls_set_context(proof.ssl_context())
    client.connect(where.host, where.port)
    return client


def _paho_publisher(told: dict) -> None:
    room = threading.Semaphore(_PAHO_WINDOW)
    client = _paho_client(told, "device")
    client.on_publish = lambda *_: room.release()
    client.loop_start()
    topic = topics.topic(told["deployment"], told["device"], topics.Kind.FEATURES)
    for encoded in _frames(told):
        room.acquire()
        client.publish(topic, encoded, told["qos"])


def _paho_subscriber(told: dict) -> None:
    counted = [0]

    def count(*_: object) -> None:
        counted[0] += 1

    client = _paho_client(told, "cloud")
    client.on_message = count
    if told["answers"]:
        answers_to = topics.topic(told["deployment"], told["device"], topics.Kind.RESULTS)

        def answer(*_: object) -> None:
            counted[0] += 1
            client.publish(answers_to, _ANSWER, told["qos"])

        client.on_message = answer
    granted = threading.Event()
    client.on_subscribe = lambda *_: granted.set()
    client.subscribe(topics.every_device(told["deployment"], topics.Kind.FEATURES), told["qos"])
    client.loop_start()
    granted.wait()
    _report(told, lambda: counted[0])


def _publisher(told: dict) -> None:
    """Our transport, which bounds by itself what waits for room."""
    where, proof = _access(told, "device")
    with transport.MqttTransport(where, client_id="bench-edge", credentials=proof) as online:
        online.connect()
        topic = topics.topic(told["deployment"], told["device"], topics.Kind.FEATURES)
        for encoded in _frames(told):
            online.publish(topic, encoded, qos=told["qos"])


def _receiver(told: dict) -> None:
    where, proof = _access(told, "cloud")
    with transport.MqttTransport(where, client_id="bench-cloud", credentials=proof) as online:
        online.connect()
        online.subscribe(topics.every_device(told["deployment"], topics.Kind.FEATURES), qos=told["qos"])
        counted = 0
        threading.Thread(target=_report, args=(told, lambda: counted), daemon=True).start()
        while True:
            message = online.receive(1.0)
            if message is not None:
                counted += 1
                online.acknowledge(message)


def _edge(told: dict) -> None:
    where, proof = _access(told, "device")
    with transport.MqttTransport(where, client_id="bench-edge", credentials=proof) as online:
        online.connect()
        online.subscribe(topics.topic(told["deployment"], told["device"], topics.Kind.RESULTS), qos=told["qos"])
        room = threading.Semaphore(_EDGE_WINDOW)

        def take_results() -> None:
            while True:
                message = online.receive(1.0)
                if message is not None:
                    online.acknowledge(message)
                    room.release()

        threading.Thread(target=take_results, daemon=True).start()
        topic = topics.topic(told["deployment"], told["device"], topics.Kind.FEATURES)
        for encoded in _frames(told):
            # A frame lost at QoS 0 would never be answered; an edge sends it again after a while.
            room.acquire(timeout=1.0)
            online.publish(topic, encoded, qos=told["qos"])


def _cloud(told: dict) -> None:
    where, proof = _access(told, "cloud")
    with transport.MqttTransport(where, client_id="bench-cloud", credentials=proof) as online:
        online.connect()
        cloud = subscriber.Cloud(
            engine.Inline.of(reading.open_package(Path(told["package"]))), online, told["deployment"]
        )
        threading.Thread(target=_report, args=(told, lambda: cloud.summary.results), daemon=True).start()
        cloud.run()


def _report(told: dict, count: Callable[[], int]) -> None:
    print("ready", flush=True)
    pause = threading.Event()
    while not count():
        pause.wait(0.01)
    pause.wait(told["warm_up_s"])
    began_s, before = time.perf_counter(), count()
    pause.wait(told["measured_s"])
    print((count() - before) / (time.perf_counter() - began_s), flush=True)


if __name__ == "__main__":
    main()
