"""Clouds of unlike speed at one RabbitMQ queue: the queue heeds how fast each of them is."""

import threading
import time

import numpy as np
import pytest

from broker.amqp import transport as amqp_transport
from broker.cloud import engine, subscriber
from broker.messages import results, topics, wire
from broker.messages.topics import Kind
from broker.mqtt import transport as mqtt_transport
from broker.transport import protocol
from tflsplit.coding import feature_codec
from tflsplit.graph.interpreter import Interpreter

SOON_S = 60.0
FRAMES = 150
PREFETCH = 3
DEPLOYMENT = "unlike"

pytestmark = pytest.mark.timeout(600)


class Slow(engine.Inline):
    """One whose first frame takes as long as all others together."""

    others_are_done = threading.Event()

    def submit(self, job, done):
        assert self.others_are_done.wait(SOON_S)
        super().submit(job, done)


@pytest.fixture
def serve(rabbitmq, tiny_package):
    """Starts clouds, each on a thread of its own; each is stopped in the end and its summary read."""
    running = []

    def begin(kind):
        engine_of = kind.of(tiny_package)
        online = amqp_transport.AmqpTransport(
            rabbitmq.amqp, name=kind.__name__, limits=protocol.Limits(inbox_messages=PREFETCH)
        )
        online.connect(timeout_s=SOON_S)
        # As the cloud itself will, but before anything is published: so that the queue is there.
        online.subscribe(topics.every_device(DEPLOYMENT, Kind.FEATURES, share="queue"), timeout_s=SOON_S)
        cloud = subscriber.Cloud(engine_of, online, DEPLOYMENT, share="queue")
        thread = threading.Thread(target=cloud.run, name=kind.__name__)
        thread.start()
        running.append((cloud, thread, online, engine_of))
        return cloud

    yield begin
    Slow.others_are_done.set()
    for cloud, _, _, _ in running:
        cloud.stop()
    for _, thread, online, engine_of in running:
        thread.join()
        online.close()
        engine_of.close()


@pytest.fixture
def device(rabbitmq):
    with mqtt_transport.MqttTransport(rabbitmq.mqtt, client_id="unlike-cam") as made:
        made.connect(timeout_s=SOON_S)
        made.subscribe(topics.topic(DEPLOYMENT, "cam", Kind.RESULTS))
        yield made


def frame_of(package, sequence):
    cut = package.cut("input")
    arrays = [np.full(spec.shape, sequence % 100, spec.dtype) for spec in cut.boundary]
    frame = wire.Frame(bytes.fromhex(package.digest)[:16], cut.position, 1, sequence, 0, 0, cut.boundary)
    return wire.encode(frame, arrays, feature_codec.Plain())


def test_a_slow_cloud_gets_less_and_every_result_is_right(serve, device, tiny_package):
    slow, quick = serve(Slow), serve(engine.Inline)
    for sequence in range(FRAMES):
        device.publish(topics.topic(DEPLOYMENT, "cam", Kind.FEATURES), frame_of(tiny_package, sequence))
    found, give_up_s = {}, time.monotonic() + SOON_S
    while len(found) < FRAMES:
        if len(found) == FRAMES - PREFETCH:
            Slow.others_are_done.set()
        assert time.monotonic() < give_up_s, sorted(found)
        message = device.receive(1.0)
        if message is not None:
            device.acknowledge(message)
            result = results.parse(message.payload)
            found[result.sequence] = dict(result.values)

    spec = tiny_package.manifest.outputs[0]
    with Interpreter(tiny_package.model_bytes()) as whole:
        for sequence, values in found.items():
            shape = tiny_package.manifest.inputs[0].shape
            (right,) = whole.run(np.full(shape, sequence % 100, np.int8))
            assert list(values["c"]) == (right.ravel() * np.float32(spec.scale)).tolist()
    # Dealt out in turn, each would have half of them, and the last would come late.
    assert (slow.summary.results, quick.summary.results) == (PREFETCH, FRAMES - PREFETCH)
