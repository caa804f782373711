"""What an edge or a cloud shares with its process: signals, the service manager, the port of its metrics.

A command that runs alone has the process to itself. A stream of several (`tflsplit.cli.streams.members`) has what it
shares with the others, as the object of its context.
"""

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import click

from tflsplit.cli.options import metrics as options_metrics
from tflsplit.cli.output import screen

if TYPE_CHECKING:  # a command with neither imports none of them
    from edge_runtime.loop import Edge
    from edge_runtime.service.notify import Notifier
    from tflsplit.observing.exposition import Collect
    from tflsplit.observing.health import Health


log = logging.getLogger(__name__)


class Surroundings:
    """Those of a command that runs alone. `weight` is its share of the processor against others' in its process, and
    `device` its name where there are others."""

    weight = 1.0
    device = ""

    def stopped_by_signals(self, stop: Callable[[], None]) -> AbstractContextManager[None]:
        """As `screen.stopped_by_signals`."""
        return screen.stopped_by_signals(stop)

    @contextmanager
    def running(self, edge: "Edge") -> Iterator[None]:
        """Around `Edge.run`."""
        edge.take_turns(self.turn)
        with self.stopped_by_signals(edge.stop):
            yield

    @contextmanager
    def reloaded_by_signal(self, reload: Callable[[], None]) -> Iterator[None]:
        """On SIGHUP `reload` is called."""
        before = signal.signal(signal.SIGHUP, lambda _number, _frame: reload())
        try:
            yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def notifier(self) -> "Notifier":
        from edge_runtime.service.notify import Notifier

        return Notifier()

    def observed(
        self, address: str | None, families: "Collect", health: "Callable[[], Health]"
    ) -> AbstractContextManager[None]:
        """Metrics and health are served, where an address was given."""
        return options_metrics.served(address, families, health)

    def turn(self) -> AbstractContextManager[None]:
        """Around each inference."""
        return nullcontext()

    def ended(self) -> None:
        """All that was to be run has run."""

    def need_restart(self, keys: Sequence[str]) -> None:
        """Settings have changed that cannot change while it runs."""
        log.warning("changed settings need a restart keys=%s", ",".join(keys))


_ALONE = Surroundings()


def take_weight(context: click.Context, _parameter: click.Parameter, weight: float) -> None:
    """For an option; alone there is nobody to share with."""
    if isinstance(context.obj, Surroundings):
        context.obj.weight = weight


def of(context: click.Context | None = None) -> Surroundings:
    """Those of the command that runs."""
    found = (context or click.get_current_context()).obj
    return found if isinstance(found, Surroundings) else _ALONE
