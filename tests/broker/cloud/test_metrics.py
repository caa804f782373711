import threading

import numpy as np
import pytest
import waiting
from waiting import wait_for

from broker.cloud import engine, exactness, metrics, subscriber
from broker.fleet.listening import Listening
from broker.fleet.totals import Totals
from broker.messages import telemetry, topics, wire
from broker.several.transport import Several
from broker.transport import memory
from broker.transport.protocol import ConnectionState
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.observing import catalogue, exposition

WAIT_S = waiting.WAIT_S


class Answering(engine.Inline):
    """Holds each frame until it is let go."""

    def __init__(self, inline):
        self._inline = inline
        self.counters = inline.counters
        self.free, self.entered = threading.Event(), threading.Event()
        self.failure = None

    @property
    def workers(self):
        return 2

    def submit(self, job, done):
        self.entered.set()
        assert self.free.wait(WAIT_S)
        self._inline.submit(job, done)

    def check(self):
        if self.failure is not None:
            raise self.failure

    def close(self):
        self._inline.close()


class World:
    """A cloud of deployment d with its watch, and a device that talks to it."""

    def __init__(self, package, network):
        self.package = package
        self.network = network
        self.online = memory.MemoryTransport(network, client_id="cloud")
        self.ears = memory.MemoryTransport(network, client_id="ears")
        self.device = memory.MemoryTransport(network, client_id="device")
        for transport in (self.online, self.ears, self.device):
            transport.connect()
        self.engine = Answering(engine.Inline.of(package))
        known = exactness.Exactness(self.online, "d", [package], None)
        self.cloud = subscriber.Cloud(self.engine, self.online, "d", exactness=known)
        self.totals = Totals("d")
        self.fleet = Listening(self.ears, "d", self.totals)
        self.watch = metrics.CloudMetrics()
        self.watch.attach([package], self.engine, [metrics.Served(self.cloud, self.online, self.totals)])
        self.fleet.start()
        self.device.subscribe(topics.topic("d", "n", topics.Kind.RESULTS))
        self.cloud.subscribe()  # else a frame may be sent before
        self.thread = threading.Thread(target=self.cloud.run)
        self.thread.start()

    def close(self):
        self.engine.free.set()
        self.cloud.stop()
        self.thread.join(WAIT_S)
        self.fleet.close()
        for transport in (self.online, self.ears, self.device):
            transport.close()
        self.engine.close()

    def send(self, sequence, cut="op000"):
        cut = self.package.cut(cut)
        frame = wire.Frame(
            bytes.fromhex(self.package.digest)[: wire.PACKAGE_BYTES], cut.position, 7, sequence, 0, 0, cut.boundary
        )
        arrays = tuple(np.zeros(spec.shape, spec.dtype) for spec in cut.boundary)
        topic = topics.topic("d", "n", topics.Kind.FEATURES)
        self.device.publish(topic, wire.encode(frame, arrays, feature_codec.Plain()))

    def values(self):
        families = list(self.watch.families())
        assert len({family.name for family in families}) == len(families)
        return {(family.name, *sample.labels): sample.value for family in families for sample in family.samples}


@pytest.fixture
def world(tiny_package):
    made = World(tiny_package, memory.MemoryBroker())
    yield made
    made.close()


def test_what_the_cloud_counted_is_what_is_shown(world):
    world.engine.free.set()
    for sequence in (0, 1, 1):
        world.send(sequence)
        assert world.device.receive(WAIT_S) is not None
    world.device.publish(topics.topic("d", "n", topics.Kind.FEATURES), b"no frame")
    assert world.device.receive(WAIT_S) is not None
    found = world.values()

    assert found["tflsplit_cloud_frames_total", "d"] == 3
    assert found["tflsplit_cloud_results_total", "d"] == 2
    assert found["tflsplit_cloud_duplicate_frames_total", "d"] == 1
    assert found["tflsplit_cloud_refused_frames_total", "d", "bad_frame"] == 1
    assert found["tflsplit_cloud_dead_letters_total", "d"] == 1
    assert found["tflsplit_cloud_tail_seconds", "d"].count == 2
    assert found["tflsplit_cloud_decode_seconds", "d"].count == 2
    assert found["tflsplit_cloud_queue_seconds", "d"].count == 2
    assert found["tflsplit_cloud_workers",] == 2
    assert found["tflsplit_cloud_broker_state", "d", "online"] == 1
    assert found["tflsplit_cloud_package_info", world.package.digest, world.package.manifest.name] == 1


def test_every_metric_of_the_catalogue_is_shown_and_no_other(world):
    said = telemetry.Telemetry(7, 0.0, "ok", None, 1.0, {}, ())
    world.device.publish(topics.topic("d", "n", topics.Kind.TELEMETRY), said.as_json(), qos=0)
    wait_for(lambda: world.values()["tflsplit_cloud_devices", "d"] == 1)
    shown = {family.name: family.metric for family in world.watch.families()}

    expected = {f"{catalogue.CLOUD_PREFIX}{metric.name}": metric for metric in catalogue.CLOUD}
    assert shown == expected | {f"{catalogue.FLEET_PREFIX}{metric.name}": metric for metric in catalogue.FLEET}
    assert exposition.renderer(world.watch.families)("")[0]


def test_two_deployments_share_one_family_of_each_name(world, tiny_package):
    other = subscriber.Cloud(world.engine, world.online, "e")
    both = [metrics.Served(world.cloud, world.online, world.totals), metrics.Served(other, world.online)]
    world.watch.attach([tiny_package], world.engine, both)
    found = world.values()

    assert {key[1] for key in found if key[0] == "tflsplit_cloud_frames_total"} == {"d", "e"}


def test_a_cloud_that_is_starting_is_alive_and_not_ready():
    found = metrics.CloudMetrics().health()

    assert (found.is_live, found.is_ready, found.why) == (True, False, "starting")
    assert list(metrics.CloudMetrics().families()) == []


def test_a_cloud_in_service_is_well(world):
    found = world.watch.health()

    assert (found.is_live, found.is_ready, found.why) == (True, True, None)
    assert found.facts["broker"] == {"d": "online"}


def test_a_cloud_without_its_broker_is_alive_and_not_ready(world):
    world.network.cut("cloud")
    assert world.online.wait_for(ConnectionState.WAITING, WAIT_S)
    found = world.watch.health()

    assert (found.is_live, found.is_ready) == (True, False)
    assert "not connected to the broker for d" in found.why


def test_of_several_brokers_the_one_that_is_away_is_shown_by_name(world, tiny_package):
    brokers = {name: memory.MemoryBroker() for name in ("a:1", "b:2")}
    members = {name: memory.MemoryTransport(broker, client_id="cloud") for name, broker in brokers.items()}
    with Several(members, "cloud") as online:
        online.connect()
        served = metrics.Served(subscriber.Cloud(world.engine, online, "e"), online)
        world.watch.attach([tiny_package], world.engine, [served])
        brokers["b:2"].stop()
        found, health = world.values(), world.watch.health()

    away = {key[2]: value for key, value in found.items() if key[0] == "tflsplit_cloud_broker_away"}
    assert away == {"a:1": 0, "b:2": 1}
    assert health.is_ready
    assert health.why.startswith("1 of 2 brokers away")


def test_a_loop_that_hangs_in_a_tail_is_not_alive(world, monkeypatch):
    monkeypatch.setattr(metrics, "STUCK_S", 0.5)
    world.send(0)
    assert world.engine.entered.wait(WAIT_S)
    wait_for(lambda: not world.watch.health().is_live)

    assert "no frame of d was looked for" in world.watch.health().why
    assert world.values()["tflsplit_cloud_held_frames", "d"] == 1
    world.engine.free.set()
    wait_for(lambda: world.watch.health().is_live)


def test_an_engine_that_gave_up_is_not_alive(world):
    world.engine.failure = errors.DeviceError("no worker starts")
    found = world.watch.health()

    assert (found.is_live, found.is_ready, found.why) == (False, False, "no worker starts")
