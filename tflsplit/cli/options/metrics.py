"""The option that opens a port for those who watch: Prometheus, and supervisors that ask for health."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # an edge that nobody watches starts without any of it
    from tflsplit.observing.exposition import Collect
    from tflsplit.observing.health import Health


def option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command `metrics`, an address or None."""
    return click.option(
        "--metrics",
        metavar="[HOST:]PORT",
        help="Serve /metrics for Prometheus and /health there. Host: 127.0.0.1 if left out.",
    )(function)


@contextmanager
def served(metrics: str | None, families: "Collect", health: "Callable[[], Health]") -> Iterator[None]:
    """Serves them until the block ends, if an address was given."""
    if metrics is None:
        yield
        return
    from tflsplit.observing import exposition, server

    host, port = server.parse_address(metrics)
    with server.Server(host, port, render=exposition.renderer(families), health=health) as serving:
        click.echo(f"metrics and health at {serving.url}", err=True)
        yield
