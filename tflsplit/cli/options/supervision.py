"""An edge as a systemd service: it reports its state to systemd, and reads its configuration again on SIGHUP.

An edge with neither systemd nor a configuration file imports none of it.
"""

import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import delivery
from tflsplit.cli.settings import command

if TYPE_CHECKING:
    from broker.transport.protocol import Transport
    from edge_runtime.delivery.observer import Observer
    from edge_runtime.delivery.settings import Settings
    from edge_runtime.head import Head
    from edge_runtime.loop import Edge
    from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

# Longest time between two reports while the edge starts: some accelerators compile the model for a minute.
_STEP_S = 90.0


class SupervisedEdge:
    """Supervision of the command that runs; `context` is its context."""

    def __init__(self, context: click.Context) -> None:
        self._context = context
        self._golden: Mapping[str, object] | None = None
        self.is_supervised = bool(os.environ.get("NOTIFY_SOCKET"))
        if self.is_supervised:
            from edge_runtime.service.notify import Notifier

            self._notifier = Notifier()

    def starting(self, words: str) -> None:
        if self.is_supervised:
            self._notifier.starting(words, within_s=_STEP_S)

    def trying(self, model: str) -> None:
        """Each model of a package that is tried is a step of its own."""
        self.starting(f"trying {model}")

    @property
    def waits(self) -> bool:
        """Whether the edge ends if the broker cannot be reached at the start. A service goes on trying."""
        return not self.is_supervised

    @property
    def observers(self) -> "tuple[Observer, ...]":
        if not self.is_supervised:
            return ()
        from edge_runtime.service.supervision import Watchdog

        return (Watchdog(self._notifier),)

    @contextmanager
    def proven(self, head: "Head", package: "Package") -> Iterator[None]:
        """Runs golden samples through the head, for the birth to say whether it computes what it should.
        For a service zeros do as well: "ready" means that the accelerator works."""
        from tflsplit.package import judging

        self.starting("first inference")
        is_cpu = head.condition.runs_on == "cpu"
        self._golden = judging.at_start(head.run, package, head.cut, is_cpu=is_cpu)
        if self._golden is None and self.is_supervised:
            import numpy as np

            head.run(tuple(np.zeros(spec.shape, spec.dtype) for spec in package.manifest.inputs))
        self.starting("connecting to the broker")
        yield

    @contextmanager
    def supervised(self, edge: "Edge", online: "Transport", planned: Mapping[str, Any]) -> Iterator[None]:
        """Around `Edge.run`; on SIGHUP the configuration is read again. `planned` are the settings of a plan."""
        edge.describe("golden", self._golden)
        if not self.is_supervised and not command.has_file(self._context):
            yield
            return
        from edge_runtime.service.notify import Notifier
        from edge_runtime.service.supervision import Supervision

        notifier = self._notifier if self.is_supervised else Notifier({})
        supervision = Supervision(edge, online, notifier, lambda: self._reload(edge, planned))
        before = signal.signal(signal.SIGHUP, lambda _number, _frame: supervision.ask_to_reload())
        try:
            with supervision:
                yield
        finally:
            signal.signal(signal.SIGHUP, before)

    def _reload(self, edge: "Edge", planned: Mapping[str, Any]) -> None:
        from edge_runtime.delivery.settings import CHANGEABLE

        fresh = command.again(self._context)
        changed = command.changes(self._context, fresh)
        edge.reload(_changed(edge.settings, planned, fresh.params))
        self._context.params.update({name: fresh.params[name] for name in changed if name in CHANGEABLE})
        log.info("configuration read again changed=%s", ",".join(sorted(changed & {*CHANGEABLE})) or "nothing")
        if fixed := changed - {*CHANGEABLE}:
            keys = command.keys(self._context.command, fixed)
            log.warning("changed settings need a restart keys=%s", ",".join(keys))


def _changed(settings: "Settings", planned: Mapping[str, Any], given: Mapping[str, Any]) -> "Settings":
    """`settings`, in which those that may change while the edge runs have the values of `given`."""
    from edge_runtime.delivery.settings import CHANGEABLE, Settings

    values = {**planned, **delivery.of(given).settings()}
    if given["rate_fps"] is not None:
        values["rate_fps"] = given["rate_fps"]
    names = (*CHANGEABLE, "delivery", "qos")
    kept = {name: value for name, value in values.items() if name in names}
    fresh = Settings(settings.deployment, settings.device, settings.boot, **kept)
    return replace(settings, **{name: getattr(fresh, name) for name in CHANGEABLE})
