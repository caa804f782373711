"""A cloud whose frames come out of a queue hears and speaks over a connection of its own."""

import secrets

import pytest
from memory_cloud import WAIT_S
from waiting import wait_for

from broker.cloud import engine, exactness, peers, subscriber
from broker.cloud.beside.listening import Beside
from broker.messages import announcements, presence, probes, topics
from broker.messages.topics import Kind
from broker.transport import memory
from tflsplit import errors


@pytest.fixture
def network():
    return memory.MemoryBroker()


@pytest.fixture
def joined(network):
    with memory.MemoryTransport(network, client_id="device") as device:
        device.connect()
        yield device


@pytest.fixture
def beside(network, tiny_package):
    boot, inline = secrets.randbits(64), engine.Inline.of(tiny_package)
    status = presence.Presence(topics.topic("d", "cloud", Kind.STATUS), boot)
    with memory.MemoryTransport(network, client_id="cloud", presence=status) as online:
        online.connect()
        heard = exactness.Exactness(online, "d", (tiny_package,), None)
        with Beside(inline, online, "d", peers.of(online, ("d", "cloud"), boot, (tiny_package,)), heard) as made:
            yield made
    inline.close()


def test_it_answers_probes_and_opens_what_births_name(joined, beside, tiny_package):
    joined.subscribe(topics.topic("d", "n", Kind.CONTROL))
    joined.subscribe(topics.topic("d", "cloud", Kind.SERVES))
    birth = b'{"boot":"07","package":"%s","cut":"op000","adapts":{"candidates":["input"]}}'
    joined.publish(topics.topic("d", "n", Kind.BIRTH), birth % tiny_package.digest.encode())
    joined.publish(topics.topic("d", "n", Kind.TELEMETRY), probes.message(1, 2, b"x" * 8))
    ready, answered = frozenset(), False
    while not (answered and ready == {"input", "op000"}):
        message = joined.receive(WAIT_S)
        if message.topic.endswith("serves"):
            ready = announcements.parse(message.payload).ready_cuts(tiny_package.digest)
        elif message.topic.endswith("control"):
            answered = probes.number_of(message.payload, 1) == 2
    beside.check()


def test_what_ends_it_ends_its_cloud(network, joined, beside, tiny_package, monkeypatch):
    def fails(self, message):
        raise errors.PeerError("another process is 'cloud'")

    monkeypatch.setattr(exactness.Exactness, "take", fails)
    with memory.MemoryTransport(network, client_id="frames") as frames:
        frames.connect()
        cloud = subscriber.Cloud(engine.Inline.of(tiny_package), frames, "d", beside=beside)
        joined.publish(topics.topic("d", "n", Kind.BIRTH), b"{}")
        wait_for(lambda: beside._failure is not None)
        with pytest.raises(errors.PeerError, match="another process"):
            cloud.run()
