"""The metrics and the health of a running edge, for operators.

Reads the counters of others when somebody asks; it costs two clock readings a frame.
"""

import time
from collections.abc import Iterator

import tflsplit
from broker.transport import metrics
from broker.transport.protocol import Transport
from edge_runtime.answering.gate import Verdict
from edge_runtime.delivery.observer import OwnAnswer, Settled
from edge_runtime.loop import Edge
from edge_runtime.monitoring.health import EdgeHealth
from tflsplit.observing import catalogue
from tflsplit.observing.health import Health
from tflsplit.observing.metrics import Family, Metric, Sample


class EdgeMetrics:
    """An `edge_runtime.delivery.observer.Observer` of one edge; empty until `attach`. Any thread may read it."""

    def __init__(self) -> None:
        self._edge: Edge | None = None
        self._transport: Transport | None = None
        self._version = tflsplit.__version__
        self._health = EdgeHealth()
        self._alive_s = time.time()
        self._answered_s: float | None = None

    def attach(self, edge: Edge, transport: Transport) -> None:
        """Before the edge runs."""
        self._alive_s = time.time()
        self._edge, self._transport = edge, transport
        self._health.attach(edge, transport)

    def alive(self) -> None:
        self._alive_s = time.time()
        self._health.alive()

    def settled(self, settled: Settled) -> None:
        self._answered_s = settled.arrived_ns / 1e9
        self._health.settled(settled)

    def answered(self, own: OwnAnswer) -> None:
        """The summary counts these; the last answer is a cloud's."""

    def health(self) -> Health:
        return self._health.judge()

    def families(self) -> Iterator[Family]:
        """Nothing before `attach`."""
        if self._edge is None or self._transport is None:
            return
        yield from self._work(self._edge)
        yield from self._accelerator(self._edge)
        yield from self._spool(self._edge)
        yield from self._own(self._edge)
        yield from self._adapting(self._edge)
        for metric, samples in metrics.of_connection(self._transport):
            yield Family(catalogue.EDGE_PREFIX, metric, samples)

    def _work(self, edge: Edge) -> Iterator[Family]:
        summary = edge.summary
        for metric, value in (
            (catalogue.FRAMES, summary.frames),
            (catalogue.INPUTS, summary.inputs),
            (catalogue.REPLAYED, summary.replayed),
            (catalogue.RESULTS, summary.results),
            (catalogue.REFUSED, summary.refused),
            (catalogue.RESENT, summary.resent),
            (catalogue.DUPLICATES, summary.duplicates),
            (catalogue.BUSY, summary.busy),
            (catalogue.UNTIMED, summary.untimed),
            (catalogue.WINDOW, edge.outstanding),
            (catalogue.WINDOW_SIZE, edge.settings.window),
            (catalogue.LAST_FRAME, self._alive_s),
            (catalogue.READY, self.health().is_ready),
        ):
            yield _family(metric, Sample(value))
        if self._answered_s is not None:
            yield _family(catalogue.LAST_ANSWER, Sample(self._answered_s))
        if edge.package.manifest.is_stateful:
            yield _family(catalogue.RESTARTS, Sample(summary.restarts))
        yield _family(catalogue.BUILD, Sample(1, (self._version, edge.package.digest, edge.cut.id)))
        yield _family(catalogue.DROPPED, *(Sample(count, (why,)) for why, count in dict(summary.dropped).items()))
        yield _family(catalogue.LATENCY, Sample(metrics.distribution(summary.latency_s)))
        parts = {"head": summary.head_s, "wire": summary.wire_s, "tail": summary.tail_s}
        yield _family(catalogue.PARTS, *(Sample(metrics.distribution(found), (part,)) for part, found in parts.items()))

    def _accelerator(self, edge: Edge) -> Iterator[Family]:
        condition, counters = edge.condition, edge.summary.accelerator
        runs_on = condition.runs_on or "nothing"
        yield _family(catalogue.ACCELERATOR, Sample(1, (condition.accelerator, runs_on)))
        yield _family(catalogue.KERNELS, Sample(1, (str(edge.kernels), edge.exactness.standing.value)))
        is_up = runs_on == condition.accelerator or edge.cut.position == 0
        yield _family(catalogue.ACCELERATOR_UP, Sample(is_up))
        yield _family(catalogue.FAILURES, Sample(counters.failures))
        yield _family(catalogue.REOPENINGS, Sample(counters.reopenings))
        yield _family(catalogue.ON_FALLBACK, Sample(counters.frames_on_fallback))
        from edge_runtime.machine import environment

        if temperature := environment.temperature_c():
            yield _family(catalogue.TEMPERATURE, Sample(float(temperature)))

    def _spool(self, edge: Edge) -> Iterator[Family]:
        if edge.spool is not None:
            yield _family(catalogue.SPOOL_FRAMES, Sample(edge.spool.frames))
            yield _family(catalogue.SPOOL_BYTES, Sample(edge.spool.bytes))
            yield _family(catalogue.SPOOL_LIMIT, Sample(edge.spool.limits.bytes))
            yield _family(catalogue.SPOOL_FULL, Sample(edge.spool.is_full))

    def _own(self, edge: Edge) -> Iterator[Family]:
        summary, gate = edge.summary, edge.gate
        yield _family(catalogue.ANSWERED_HERE, Sample(summary.answered_here))
        yield _family(catalogue.HEDGED, Sample(summary.hedged))
        yield _family(catalogue.HEDGED_FIRST, Sample(summary.hedged_first))
        yield _family(catalogue.HEDGE_LEFT_OUT, Sample(summary.hedge_left_out))
        if gate is not None:
            yield _family(catalogue.GATED, *(Sample(gate.counts[each], (each.value,)) for each in Verdict))
            yield _family(catalogue.AUDITS, Sample(gate.agreed, ("yes",)), Sample(gate.disagreed, ("no",)))

    def _adapting(self, edge: Edge) -> Iterator[Family]:
        moving = edge.adaptation
        if moving is None:
            return
        present = moving.present
        yield _family(catalogue.SWITCHES, *(Sample(count, (why,)) for why, count in dict(moving.switches).items()))
        yield _family(catalogue.NOT_READY, Sample(moving.not_ready))
        yield _family(catalogue.LOADS, Sample(moving.reloads.moves))
        yield _family(catalogue.LOAD_WAIT, Sample(moving.reloads.waited_s))
        yield _family(catalogue.PROBES, Sample(moving.probes.sent if moving.probes else 0))
        yield _family(catalogue.PROBE_BYTES, Sample(moving.probes.bytes if moving.probes else 0))
        yield _family(catalogue.LINK_BPS, Sample(1 / present.s_per_bit))
        yield _family(catalogue.LINK_RTT, Sample(present.rtt_s))
        yield _family(catalogue.CLOUD_WAIT, Sample(present.cloud_wait_s))
        sides = {"edge": present.edge_slower, "cloud": present.cloud_slower}
        yield _family(catalogue.SLOWER, *(Sample(slower, (side,)) for side, slower in sides.items()))


def _family(metric: Metric, *samples: Sample) -> Family:
    return Family(catalogue.EDGE_PREFIX, metric, samples)
