"""The probe against a real broker, with a peer and without, and over a link that is told how slow it is to be."""

import contextlib
import threading

import pytest
import waiting

from broker.links import echo, throughput
from broker.links.relay import Relay
from broker.links.shaping import Shape
from broker.messages import probes, topics
from broker.transport.memory import MemoryBroker, MemoryTransport
from tflsplit import errors
from tflsplit.timings import links
from tflsplit.timings.profiles import FEWEST_RUNS, Origin

SOON_S = waiting.WAIT_S


def settings(**changes):
    fields = {"deployment": "d", "device": "probe", "sizes": (100, 2_000, 20_000), "size_s": 0.2}
    return throughput.Settings(**fields | changes)


@contextlib.contextmanager
def peer_on(transport):
    peer = echo.Echo(transport, "d")
    peer.listen()
    thread = threading.Thread(target=peer.run)
    thread.start()
    try:
        yield peer
    finally:
        peer.stop()
        thread.join(SOON_S)


def test_with_a_peer_every_size_goes_there_and_back(mosquitto, join, tmp_path):
    with peer_on(join(mosquitto.address, "peer")) as peer:
        found = throughput.probe(join(mosquitto.address, "a"), join(mosquitto.address, "b"), settings(), run=1)

    assert found.has_peer
    assert [point.payload_bytes for point in found.link.points] == [100, 2_000, 20_000]
    assert all(point.round_trip.runs >= FEWEST_RUNS for point in found.link.points)
    assert found.link.origin is Origin.MEASURED
    assert found.link.loss == 0.0
    assert "MQTT 5, to the peer and back" in found.link.source
    assert peer.answered > 200
    path = tmp_path / "link.json"
    path.write_text(links.render(found.link))
    assert links.read(path) == found.link


def test_without_a_peer_the_way_to_the_broker_is_measured_and_that_is_said(mosquitto, join, monkeypatch):
    monkeypatch.setattr(throughput, "_HELLO_S", 0.2)
    found = throughput.probe(join(mosquitto.address, "a"), join(mosquitto.address, "b"), settings(), run=1)

    assert not found.has_peer
    assert len(found.link.points) == 3
    assert found.link.loss == 0.0
    assert "no peer answered" in found.link.source


def test_a_shaped_link_is_never_measured_faster_than_it_is(mosquitto, join):
    up, down = Shape(bandwidth_bps=8e6, delay_s=0.01), Shape(delay_s=0.01)
    with Relay(mosquitto.address, up=up, down=down) as relay, peer_on(join(mosquitto.address, "peer")):
        given = settings(sizes=(100, 50_000, 100_000))
        found = throughput.probe(join(relay.address, "a"), join(relay.address, "b"), given, run=1)

    for point in found.link.points:
        assert min(point.round_trip.samples_s) >= 0.02 + point.payload_bytes * 8 / 8e6


def test_sizes_over_the_broker_s_packet_limit_are_left_out(mosquitto_with, join):
    broker = mosquitto_with("max_packet_size 10000")
    with peer_on(join(broker.address, "peer")):
        found = throughput.probe(join(broker.address, "a"), join(broker.address, "b"), settings(), run=1)

    assert [point.payload_bytes for point in found.link.points] == [100, 2_000]
    assert found.link.packet_limit_bytes == 10_000


def test_messages_lost_at_qos_0_are_counted(monkeypatch):
    monkeypatch.setattr(throughput, "_LOSS_SILENCE_S", 0.2)
    seen = {"tiny": 0}

    def copies(topic, payload):
        if topic.endswith("/telemetry") and len(payload) == probes.LEAST_BYTES:
            seen["tiny"] += 1
            # The first is the question whether anyone is there.
            return 0 if seen["tiny"] > 1 and seen["tiny"] % 4 == 0 else 1
        return 1

    network = MemoryBroker(copies=copies)
    with contextlib.ExitStack() as stack:
        ours, other, far = (stack.enter_context(MemoryTransport(network, client_id=name)) for name in "abc")
        for transport in (ours, other, far):
            transport.connect()
        stack.enter_context(peer_on(far))
        found = throughput.probe(ours, other, settings(sizes=(100,)), run=1)

    assert found.link.loss == pytest.approx(0.25)


def test_slow_links_are_spared_the_large_sizes(mosquitto, join):
    up = Shape(bandwidth_bps=400e3)
    with Relay(mosquitto.address, up=up, down=Shape()) as relay, peer_on(join(mosquitto.address, "peer")):
        given = settings(sizes=(100, 2_000, 1_000_000))
        found = throughput.probe(join(relay.address, "a"), join(relay.address, "b"), given, run=1)

    # 2 kB take 40 ms, so 1 MB would take 20 s, and only 0.2 s are to be spent.
    assert [point.payload_bytes for point in found.link.points] == [100, 2_000]


def test_others_messages_are_no_answers():
    ours = probes.message(7, 3, b"")

    assert probes.number_of(ours, 7) == 3
    assert probes.number_of(ours, 8) is None
    assert probes.number_of(b'{"temperature": 20}', 7) is None


def test_a_peer_answers_nobody_else(mosquitto, join):
    stranger = join(mosquitto.address, "stranger")
    stranger.subscribe(f"{topics.ROOT}/d/#")
    with peer_on(join(mosquitto.address, "peer")) as peer:
        stranger.publish(topics.topic("d", "cam", topics.Kind.TELEMETRY), b'{"temperature": 20}')
        stranger.publish(topics.topic("d", "cam", topics.Kind.TELEMETRY), probes.message(1, 1, b""))
        kinds = []
        while "control" not in kinds:
            kinds.append(topics.parse(stranger.receive(SOON_S).topic).kind.value)

    assert kinds.count("control") == 1
    assert peer.answered == 1


@pytest.mark.parametrize("changes", [{"sizes": ()}, {"sizes": (3,)}, {"size_s": 0.0}, {"deployment": "a/b"}])
def test_settings_that_cannot_be_used_are_refused(changes):
    with pytest.raises(errors.SettingsError):
        settings(**changes)
