"""Clouds on the in-memory broker: a real one, and one that answers only what and when a test says."""

import json
import secrets
import threading
from contextlib import contextmanager

from broker.cloud import engine, exactness, peers, subscriber
from broker.messages import acks, presence, results, topics, wire
from broker.transport import memory

WAIT_S = 60.0
_TIMES = results.Times(*[0.0] * len(results.Times.__slots__))


@contextmanager
def cloud_for(package, network, *others, name="cloud", kernel_class=None):
    """A cloud that serves deployment `d` with these packages until the block ends; by default it knows no kernels."""
    boot = secrets.randbits(64)
    status = presence.Presence(topics.topic("d", name, topics.Kind.STATUS), boot)
    with memory.MemoryTransport(network, client_id=name, presence=status) as transport:
        transport.connect()
        others_seen = peers.of(transport, ("d", name), boot, (package, *others), kernel_class)
        known = exactness.Exactness(transport, "d", (package, *others), kernel_class)
        cloud = subscriber.Cloud(engine.Inline.of(package, *others), transport, "d", peers=others_seen, exactness=known)
        with running(cloud):
            yield cloud


@contextmanager
def running(cloud):
    """It serves on a thread of its own until the block ends."""
    cloud.subscribe()
    thread = threading.Thread(target=cloud.run)
    thread.start()
    try:
        yield cloud
    finally:
        cloud.stop()
        thread.join(WAIT_S)


def birth_of(network):
    """What the broker retains of device `n` of deployment `d`."""
    with memory.MemoryTransport(network, client_id="person") as person:
        person.connect()
        person.subscribe(topics.topic("d", "n", topics.Kind.BIRTH))
        return json.loads(person.receive(WAIT_S).payload)


class Ghost:
    """Takes in the frames of device `n` of deployment `d` and answers none of itself."""

    def __init__(self, transport):
        self._transport = transport
        transport.connect()
        transport.subscribe(topics.topic("d", "n", topics.Kind.FEATURES))

    def frames(self, count):
        """The next so many, as they said what they are."""
        return [self.frame() for _ in range(count)]

    def frame(self, timeout_s=WAIT_S):
        message = self._transport.receive(timeout_s)
        if message is None:
            return None
        self._transport.acknowledge(message)
        return wire.describe(message.payload)

    def answer(self, frame):
        result = results.Result("n", frame.boot, frame.sequence, "op000", frame.package.hex(), _TIMES)
        self._transport.publish(topics.topic("d", "n", topics.Kind.RESULTS), result.as_json())

    def refuse(self, frame, refused):
        refusal = results.Refusal("n", frame.boot, frame.sequence, "for a test", 0.0, refused)
        self._transport.publish(topics.topic("d", "n", topics.Kind.RESULTS), refusal.as_json())

    def answer_frames(self, count):
        """Answers the next so many, each at once; returns them."""
        answered = []
        for _ in range(count):
            answered.append(self.frame())
            self.answer(answered[-1])
        return answered

    def close(self):
        """Whoever waits for a frame gets None."""
        self._transport.close(timeout_s=0)

    def acknowledge(self, frame, error=None):
        made = acks.Acknowledgement("n", frame.boot, frame.sequence, error)
        self._transport.publish(topics.topic("d", "n", topics.Kind.ACKS), made.as_json())


@contextmanager
def ghost_on(network):
    with memory.MemoryTransport(network, client_id="ghost") as transport:
        yield Ghost(transport)
