"""Frames on their way to a broker whose limits may change under way."""

import pytest

from broker.messages import topics
from broker.transport import memory
from edge_runtime.delivery import publisher
from edge_runtime.delivery.settings import Settings
from tflsplit import errors

FRAME = bytes(3000)
ENOUGH_S = 60.0


@pytest.fixture
def network():
    return memory.MemoryBroker(max_packet_bytes=4000)


@pytest.fixture
def seer(network):
    with memory.MemoryTransport(network, client_id="seer") as seer:
        seer.connect()
        seer.subscribe(topics.topic("d", "n", topics.Kind.FEATURES))
        yield seer


@pytest.fixture
def edge(network):
    with memory.MemoryTransport(network, client_id="edge") as edge:
        edge.connect()
        yield edge


def shrink_before_the_first(edge, network, limit_bytes):
    """Another broker takes over between the look at the limit and the publication."""
    publish = edge.try_publish

    def shrinking(*given, **options):
        network.max_packet_bytes = limit_bytes
        return publish(*given, **options)

    edge.try_publish = shrinking


@pytest.mark.parametrize("waits", [True, False])
def test_a_frame_is_cut_anew_when_the_limit_has_shrunk(network, seer, edge, waits):
    shrink_before_the_first(edge, network, 1000)
    ours = publisher.Publisher(edge, Settings("d", "n", 7))

    assert ours.send(FRAME, until=lambda: False) if waits else ours.try_send(FRAME)
    assert all(len(seer.receive(ENOUGH_S).payload) < 1000 for _ in range(4))


def test_a_limit_that_takes_no_chunk_is_an_error(network, seer, edge):
    network.max_packet_bytes = 60

    with pytest.raises(errors.SettingsError, match="raise the limit"):
        publisher.Publisher(edge, Settings("d", "n", 7)).try_send(FRAME)


def test_who_waits_for_room_may_be_told_to_stop(network, edge):
    network.cut("edge")
    ours = publisher.Publisher(edge, Settings("d", "n", 7))
    sent = 0
    while ours.try_send(b"x"):
        sent += 1

    assert sent == edge.limits.outbox_messages
    assert not ours.send(b"x", until=lambda: True)
    network.restore("edge")
    assert ours.send(b"x", until=lambda: False)
