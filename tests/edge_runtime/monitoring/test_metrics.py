"""A real edge and a real cloud over the in-memory transport, watched."""

import contextlib
import json
import threading

import memory_cloud
import numpy as np
import pytest
import running_edge
import waiting
import watching
from waiting import wait_for

from broker.fleet import series
from broker.messages import telemetry, topics
from broker.transport import memory
from broker.transport.protocol import ConnectionState
from edge_runtime import head, loop
from edge_runtime.accelerators.service import Condition
from edge_runtime.delivery.durable import spool
from edge_runtime.delivery.settings import Settings
from edge_runtime.monitoring import health, metrics
from edge_runtime.monitoring.telemetry import TelemetryPublisher
from tflsplit.observing import catalogue, exposition

INPUTS = np.random.default_rng(0).integers(-128, 128, (40, 4), dtype=np.int8)
WAIT_S = waiting.WAIT_S


class Streaming(running_edge.RunningEdge):
    """With what it runs on."""

    def __init__(self, package, network, tmp_path, *, cut="op000", is_spooled=True, has_cloud=True, **changes):
        self.settings = Settings(
            **{"deployment": "d", "device": "n", "boot": 7, "drain_s": 0.1, "count": 1_000_000} | changes
        )
        self.answered = threading.Event()
        self._stack = contextlib.ExitStack()
        enter = self._stack.enter_context
        online = enter(memory.MemoryTransport(network, client_id="edge"))
        online.connect()
        self.head = enter(head.Head(package, package.cut(cut)))
        kept = None
        if is_spooled:
            kept = enter(spool.open_spool(tmp_path / "spool", spool.Limits(), deployment="d", device="n"))
        self.metrics = metrics.EdgeMetrics()
        seen = watching.Watching(lambda answer: self.answered.set())
        observers = [self.metrics, seen]
        edge = loop.Edge(package, self.head, online, self.settings, spool=kept, observers=observers)
        if has_cloud:
            enter(memory_cloud.cloud_for(package, network))
        super().__init__(edge, online, INPUTS, self.metrics)

    def __exit__(self, *_):
        super().__exit__()
        self._stack.close()

    def publisher(self, *, every_s):
        return TelemetryPublisher(self.metrics, self.edge, self.online, every_s=every_s)

    def values(self):
        """By the names of an exposition."""
        return {
            (family.name, *sample.labels): sample.value
            for family in self.metrics.families()
            for sample in family.samples
        }


def test_what_the_edge_counted_is_what_is_shown(tiny_package, tmp_path):
    with Streaming(tiny_package, memory.MemoryBroker(), tmp_path, count=30) as streaming:
        streaming.thread.join(WAIT_S)
        found = streaming.values()
        summary = streaming.edge.summary

    assert found["tflsplit_edge_frames_total",] == summary.frames == 30
    assert found["tflsplit_edge_results_total",] == summary.results
    assert found["tflsplit_edge_latency_seconds",].count == summary.results
    for part in ("head", "wire", "tail"):
        assert found["tflsplit_edge_part_seconds", part].count == summary.results
    assert found["tflsplit_edge_latency_seconds",].sum_s == pytest.approx(sum(summary.latency_s))
    assert found["tflsplit_edge_window_limit_frames",] == 8
    assert found["tflsplit_edge_spool_limit_bytes",] == spool.Limits().bytes
    assert found["tflsplit_edge_accelerator_info", "cpu", "cpu"] == 1


def test_every_metric_of_the_catalogue_is_shown_and_no_other(tiny_package, tmp_path):
    """Drops have no reason to be shown before the first; temperatures are there where a machine tells them. Those of a
    cut that moves are looked at in `tests/edge_runtime/adapting`, those of a gate in `tests/edge_runtime/answering`."""
    with Streaming(tiny_package, memory.MemoryBroker(), tmp_path) as streaming:
        assert streaming.answered.wait(WAIT_S)
        wait_for(lambda: ("tflsplit_edge_last_answer_timestamp_seconds",) in streaming.values())
        shown = {family.name: family.metric for family in streaming.metrics.families()}
        text, _ = exposition.renderer(streaming.metrics.families)("")

    special = (*catalogue.ADAPTING, *catalogue.GATE, catalogue.RESTARTS)
    expected = {f"{catalogue.EDGE_PREFIX}{metric.name}": metric for metric in catalogue.EDGE if metric not in special}
    temperature = f"{catalogue.EDGE_PREFIX}{catalogue.TEMPERATURE.name}"
    assert {temperature: catalogue.TEMPERATURE} | shown == expected
    assert b"tflsplit_edge_latency_seconds_bucket" in text


def test_an_edge_that_is_starting_is_alive_and_not_ready():
    found = metrics.EdgeMetrics().health()

    assert (found.is_live, found.is_ready, found.why) == (True, False, "starting")
    assert list(metrics.EdgeMetrics().families()) == []


@pytest.mark.parametrize("cut", ["input", "op000"])
def test_an_edge_in_service_is_well(tiny_package, tmp_path, cut):
    with Streaming(tiny_package, memory.MemoryBroker(), tmp_path, cut=cut) as streaming:
        assert streaming.answered.wait(WAIT_S)
        found = streaming.metrics.health()

    assert (found.is_live, found.is_ready, found.why) == (True, True, None)
    assert found.facts["broker"] == "online"
    assert found.facts["since_answer_s"] is not None
    assert found.facts["spool_full"] is False


def test_an_edge_without_its_broker_is_alive_and_not_ready(tiny_package, tmp_path):
    network = memory.MemoryBroker()
    with Streaming(tiny_package, network, tmp_path) as streaming:
        network.cut("edge")
        assert streaming.online.wait_for(ConnectionState.WAITING, WAIT_S)
        found = streaming.metrics.health()
        network.restore("edge")

    assert (found.is_live, found.is_ready) == (True, False)
    assert found.why == "the connection to the broker is waiting"


def test_an_edge_that_waits_for_a_cloud_is_alive_for_as_long_as_it_takes(tiny_package, tmp_path):
    options = {"has_cloud": False, "is_spooled": False, "window": 1}
    with Streaming(tiny_package, memory.MemoryBroker(), tmp_path, **options) as streaming:
        wait_for(lambda: streaming.edge.outstanding == 1)
        frames_done = streaming.edge.summary.frames
        for _ in range(3):  # it goes on looking
            before = streaming.values()["tflsplit_edge_last_frame_timestamp_seconds",]
            wait_for(lambda before=before: streaming.values()["tflsplit_edge_last_frame_timestamp_seconds",] > before)

        assert streaming.edge.summary.frames == frames_done


def test_a_head_that_hangs_is_not_alive(tiny_package, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "STUCK_S", 0.5)
    release = threading.Event()
    streaming = Streaming(tiny_package, memory.MemoryBroker(), tmp_path)
    runs = streaming.head.run
    monkeypatch.setattr(streaming.head, "run", lambda arrays: release.wait(WAIT_S) and runs(arrays))
    with streaming:
        wait_for(lambda: not streaming.metrics.health().is_live)
        found = streaming.metrics.health()
        release.set()

    assert found.state == "stuck"
    assert "no frame was done for" in found.why


def test_an_accelerator_that_is_away_is_waited_for_and_said(tiny_package, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "STUCK_S", 0.0)
    with Streaming(tiny_package, memory.MemoryBroker(), tmp_path) as streaming:
        monkeypatch.setattr(type(streaming.edge), "condition", Condition("coral", None, "unplugged"))
        found = streaming.metrics.health()
        shown = streaming.values()

    assert (found.is_live, found.is_ready, found.why) == (True, False, "frames wait for the accelerator: unplugged")
    assert shown["tflsplit_edge_accelerator_up",] == 0
    assert shown["tflsplit_edge_accelerator_info", "coral", "nothing"] == 1


def test_telemetry_says_what_metrics_say_and_a_cloud_shows_it(tiny_package, tmp_path):
    network = memory.MemoryBroker()
    listener = memory.MemoryTransport(network, client_id="listener")
    listener.connect()
    listener.subscribe(topics.topic("d", "n", topics.Kind.TELEMETRY))
    with Streaming(tiny_package, network, tmp_path) as streaming:
        assert streaming.answered.wait(WAIT_S)
        with streaming.publisher(every_s=0.05):
            first = listener.receive(WAIT_S)
        told = telemetry.parse(first.payload)
    said = json.loads(first.payload)
    shown = series.Series("d")
    shown.told("n", told)
    names = {family.name for family in shown.families() if family.samples}

    assert told.boot == 7
    assert (said["state"], said["why"]) == ("ok", None)
    assert said["fps"] > 0
    assert said["latency_ms"]["p50"] > 0
    assert said["metrics"]["frames_total"] > 0
    assert len(first.payload) < 4000
    assert {"tflsplit_device_frames_total", "tflsplit_device_latency_seconds", "tflsplit_device_spool_full"} <= names
    listener.close()


def test_telemetry_tells_of_the_time_since_it_told_last(tiny_package, tmp_path):
    with Streaming(tiny_package, memory.MemoryBroker(), tmp_path, count=20) as streaming:
        streaming.thread.join(WAIT_S)
        publisher = streaming.publisher(every_s=60.0)
        first, second = publisher.message(), publisher.message()

    assert first.fps > 0
    assert first.latency_ms["p50"] is not None
    assert (second.fps, second.latency_ms["p50"]) == (0.0, None)


def test_a_change_of_health_is_told_at_once(tiny_package, tmp_path, monkeypatch):
    """Long before the next message is due, so that who watches learns it."""
    network = memory.MemoryBroker()
    listener = memory.MemoryTransport(network, client_id="listener")
    listener.connect()
    listener.subscribe(topics.topic("d", "n", topics.Kind.TELEMETRY))
    with Streaming(tiny_package, network, tmp_path) as streaming:
        assert streaming.answered.wait(WAIT_S)
        with streaming.publisher(every_s=3600.0):
            assert telemetry.parse(listener.receive(WAIT_S).payload).state == "ok"
            monkeypatch.setattr(health, "STUCK_S", 0.0)
            monkeypatch.setattr(type(streaming.edge), "condition", Condition("coral", None, "unplugged"))
            assert telemetry.parse(listener.receive(WAIT_S).payload).state == "not ready"
    listener.close()


def test_telemetry_does_not_take_the_place_of_frames_while_the_broker_is_away(tiny_package, tmp_path):
    network = memory.MemoryBroker()
    with Streaming(tiny_package, network, tmp_path) as streaming:
        network.cut("edge")
        assert streaming.online.wait_for(ConnectionState.WAITING, WAIT_S)
        for _ in range(streaming.settings.window + 4):
            with streaming.publisher(every_s=60.0):
                pass  # it publishes once more at its end

        # A message of the edge itself may be on its way when the link breaks; twelve more would be telemetry.
        assert streaming.online.held[0] <= streaming.settings.window + 2
        network.restore("edge")
