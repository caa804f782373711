"""The option that serves metrics to Prometheus, and health to supervisors."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # an edge without metrics imports none of it
    from edge_runtime.monitoring.worker_metrics import WorkerMetrics
    from tflsplit.observing.exposition import Collect
    from tflsplit.observing.health import Health

_log = logging.getLogger(__name__)


def option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `metrics`, an address or None."""
    return click.option(
        "--metrics",
        metavar="[HOST:]PORT",
        help="Serve /metrics for Prometheus and /health for supervisors at this TCP port. Default HOST: 127.0.0.1.",
    )(function)


@contextmanager
def served(metrics: str | None, families: "Collect", health: "Callable[[], Health]") -> Iterator[None]:
    """Serves them until the block ends, if an address was given."""
    if metrics is None:
        yield
        return
    from tflsplit.observing import exposition, server

    host, port = server.parse_address(metrics)
    with server.Server(host, port, answer=server.observing(exposition.renderer(families), health)) as serving:
        _log.info("metrics and health served url=%s", serving.url)
        yield


@contextmanager
def of_worker(address: str | None) -> "Iterator[WorkerMetrics | None]":
    """Serves a worker's metrics from before its source opens until it has ended; None without an address."""
    if address is None:
        yield None
        return
    from edge_runtime.monitoring.worker_metrics import WorkerMetrics

    metrics = WorkerMetrics()
    with served(address, metrics.families, metrics.health):
        yield metrics
