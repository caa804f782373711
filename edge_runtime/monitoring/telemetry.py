"""Publishes an edge's metrics to its broker every few seconds, for devices that nobody can connect to."""

import logging
import threading
import time

from broker.messages import telemetry, topics
from broker.transport.protocol import ConnectionState, Transport
from edge_runtime.loop import Edge
from edge_runtime.monitoring.metrics import EdgeMetrics
from tflsplit import errors
from tflsplit.observing import catalogue
from tflsplit.timings.latency import percentiles

log = logging.getLogger(__name__)

_LOOK_S = 1.0  # how soon a change of health is told


class TelemetryPublisher:
    """Publishes at QoS 0 every `every_s`, soon after the edge's health or its connection changed, and once more at the
    end. Without room or broker a message is left out: the next one contains everything."""

    def __init__(self, metrics: EdgeMetrics, edge: Edge, transport: Transport, *, every_s: float) -> None:
        self._metrics = metrics
        self._edge = edge
        self._transport = transport
        self._every_s = every_s
        self._topic = topics.topic(edge.settings.deployment, edge.settings.device, topics.Kind.TELEMETRY)
        self._at_s = time.monotonic()
        self._frames = 0
        self._answers = 0
        self._told = ("", 0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)

    def __enter__(self) -> "TelemetryPublisher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def message(self) -> telemetry.Telemetry:
        """The current message; rates and latencies are of the time since the last call."""
        now_s, summary = time.monotonic(), self._edge.summary
        frames, answers = summary.frames, sum(summary.latency_s.counts)
        fps = (frames - self._frames) / max(1e-9, now_s - self._at_s)
        fresh = answers - self._answers
        latencies = list(summary.latency_s)[-fresh:] if fresh else []
        self._at_s, self._frames, self._answers = now_s, frames, answers
        health = self._metrics.health()
        self._told = (health.state, self._transport.reconnects)
        told = tuple(family for family in self._metrics.families() if family.metric in catalogue.IN_TELEMETRY)
        return telemetry.Telemetry(
            boot=self._edge.settings.boot,
            sent_ms=round(time.time() * 1e3),
            state=health.state,
            why=health.why,
            fps=round(fps, 2),
            latency_ms=percentiles(latencies),
            families=told,
            moved=self._moved(now_s),
        )

    def _moved(self, now_s: float) -> telemetry.Moved | None:
        last = self._edge.adaptation.last_switch if self._edge.adaptation else None
        if last is None:
            return None
        return telemetry.Moved(last.before, last.after, last.reason, round(now_s - last.at_s, 1))

    def _run(self) -> None:
        while not self._stopping.wait(min(_LOOK_S, self._every_s)):
            is_due = time.monotonic() - self._at_s >= self._every_s
            is_news = (self._metrics.health().state, self._transport.reconnects) != self._told
            if is_due or is_news:
                self._publish()
        self._publish()

    def _publish(self) -> None:
        if self._transport.state is not ConnectionState.ONLINE:
            return  # a message that waits for the broker would take the place of frames
        try:
            if not self._transport.try_publish(self._topic, self.message().as_json(), qos=0):
                log.debug("telemetry left out topic=%s reason=no room", self._topic)
        except errors.BrokerError as problem:
            log.warning("telemetry left out topic=%s reason=%s", self._topic, problem)
