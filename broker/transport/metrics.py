"""Samples of metrics that edge and cloud share: their connection to the broker, and their latencies."""

from collections.abc import Iterator

from broker.transport.protocol import ConnectionState, Transport
from tflsplit.observing import catalogue
from tflsplit.observing.metrics import Distribution, Metric, Sample
from tflsplit.timings.latency import BOUNDS_S, Latencies


def of_connection(transport: Transport) -> Iterator[tuple[Metric, tuple[Sample, ...]]]:
    counters = transport.counters
    states = tuple(Sample(state is transport.state, (state.value,)) for state in ConnectionState)
    yield catalogue.BROKER_STATE, states
    yield catalogue.BROKER_RECONNECTS, (Sample(counters.reconnects),)
    yield catalogue.BROKER_PUBLISHED, (Sample(counters.published),)
    yield catalogue.BROKER_RESENT, (Sample(counters.resent),)
    yield catalogue.BROKER_ACKNOWLEDGED, (Sample(counters.acknowledged),)
    yield catalogue.BROKER_RECEIVED, (Sample(counters.received),)
    yield catalogue.BROKER_DROPPED, tuple(Sample(count, (why.value,)) for why, count in counters.dropped.items())


def distribution(found: Latencies) -> Distribution:
    return Distribution(BOUNDS_S, tuple(found.counts), found.sum_s)
