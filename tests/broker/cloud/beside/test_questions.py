"""What devices ask is answered at once, whatever the cloud works on."""

import secrets
import threading

import numpy as np
from waiting import WAIT_S

from broker.cloud import engine, exactness, subscriber
from broker.messages import probes, topics, wire
from broker.transport import memory
from tflsplit.coding import feature_codec


def frame_of(package):
    cut = package.cut("input")
    digest = bytes.fromhex(package.digest)[: wire.PACKAGE_BYTES]
    zeros = tuple(np.zeros(spec.shape, spec.dtype) for spec in cut.boundary)
    return wire.encode(wire.Frame(digest, cut.position, 1, 0, 0, 0, cut.boundary), zeros, feature_codec.Plain())


class Held(engine.Inline):
    """Begins no frame before `release`."""

    def submit(self, job, done):
        self.is_busy.set()
        assert self.release.wait(WAIT_S)
        super().submit(job, done)


def test_a_probe_is_answered_while_a_tail_runs(tiny_package):
    network = memory.MemoryBroker()
    held = Held.of(tiny_package)
    held.is_busy, held.release = threading.Event(), threading.Event()
    with (
        memory.MemoryTransport(network, client_id="cloud") as online,
        memory.MemoryTransport(network, client_id="n") as device,
    ):
        online.connect()
        device.connect()
        known = exactness.Exactness(online, "d", (tiny_package,), None)
        cloud = subscriber.Cloud(held, online, "d", exactness=known)
        cloud.subscribe()
        serving = threading.Thread(target=cloud.run)
        serving.start()
        try:
            run = secrets.randbits(64)
            device.subscribe(topics.topic("d", "n", topics.Kind.CONTROL))
            device.publish(topics.topic("d", "n", topics.Kind.FEATURES), frame_of(tiny_package))
            assert held.is_busy.wait(WAIT_S)
            device.publish(topics.topic("d", "n", topics.Kind.TELEMETRY), probes.message(run, 7, b""), qos=0)
            answer = device.receive(WAIT_S)
            assert cloud.summary.results == 0
        finally:
            held.release.set()
            cloud.stop()
            serving.join(WAIT_S)

    assert probes.number_of(answer.payload, run) == 7
    assert 0 <= probes.waited_s(answer.payload) < WAIT_S
    assert cloud.summary.results == 1
