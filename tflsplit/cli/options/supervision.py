"""An edge as a service: what its supervisor is told, and what it does on SIGHUP.

Without a supervisor and a configuration file nothing of it is imported.
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

# Between two messages of a start: opening an accelerator may take a minute, for some compile the model then.
_STEP_S = 90.0


class SupervisedEdge:
    """Of the command line that runs."""

    def __init__(self, context: click.Context) -> None:
        self._context = context
        self.is_supervised = bool(os.environ.get("NOTIFY_SOCKET"))
        if self.is_supervised:
            from edge_runtime.service.notify import Notifier

            self._notifier = Notifier()

    def starting(self, words: str) -> None:
        if self.is_supervised:
            self._notifier.starting(words, within_s=_STEP_S)

    @property
    def waits(self) -> bool:
        """Whether a broker that is not there ends the start; a service comes up with the machine, and tries on."""
        return not self.is_supervised

    @property
    def observers(self) -> "tuple[Observer, ...]":
        if not self.is_supervised:
            return ()
        from edge_runtime.service.supervision import Watchdog

        return (Watchdog(self._notifier),)

    @contextmanager
    def warmed_up(self, head: "Head", package: "Package") -> Iterator[None]:
        """An inference on nothing, so that "ready" is said by an accelerator that works."""
        if self.is_supervised:
            import numpy as np

            self.starting("first inference")
            head.run(tuple(np.zeros(spec.shape, spec.dtype) for spec in package.manifest.inputs))
            self.starting("connecting to the broker")
        yield

    @contextmanager
    def attended(self, edge: "Edge", online: "Transport", planned: Mapping[str, Any]) -> Iterator[None]:
        """Around `Edge.run`; on SIGHUP the configuration is read again. `planned` is what a plan says of settings."""
        if not self.is_supervised and not command.has_file(self._context):
            yield
            return
        from edge_runtime.service.notify import Notifier
        from edge_runtime.service.supervision import Supervision

        notifier = self._notifier if self.is_supervised else Notifier({})
        attendant = Supervision(edge, online, notifier, lambda: self._reload(edge, planned))
        before = signal.signal(signal.SIGHUP, lambda _number, _frame: attendant.ask_to_reload())
        try:
            with attendant:
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
            log.warning("changed settings take a restart keys=%s", ",".join(keys))


def _changed(settings: "Settings", planned: Mapping[str, Any], given: Mapping[str, Any]) -> "Settings":
    """The settings of a run with those that may change as they would be at a new start."""
    from edge_runtime.delivery.settings import CHANGEABLE, Settings

    said = {**planned, **delivery.of(given).settings()}
    if given["rate_fps"] is not None:
        said["rate_fps"] = given["rate_fps"]
    fresh = Settings(
        settings.deployment, settings.device, settings.boot, **_only(said, (*CHANGEABLE, "delivery", "qos"))
    )
    return replace(settings, **{name: getattr(fresh, name) for name in CHANGEABLE})


def _only(said: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name in names}
