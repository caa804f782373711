"""An edge or a cloud as a systemd service: it tells systemd its state, and reads its configuration again on SIGHUP.

One with neither systemd nor a configuration file imports none of it.
"""

import gc
import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import delivery
from tflsplit.cli.settings import command
from tflsplit.cli.streams import surroundings
from tflsplit.values.classes import replace

if TYPE_CHECKING:
    from broker.transport.protocol import Transport
    from edge_runtime.delivery.observer import Observer
    from edge_runtime.delivery.settings import Settings
    from edge_runtime.head import Head
    from edge_runtime.loop import Edge
    from edge_runtime.service.supervision import Served
    from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

# Longest time between two reports while the edge starts: some accelerators compile the model for a minute.
_STEP_S = 90.0
_SEARCH_S = 3600.0


@contextmanager
def cycles_sought_in_what_is_new() -> Iterator[None]:
    """Meanwhile Python's search for cycles that nothing refers to leaves out what an earlier one went over, but for one
    in an hour. With 5,000 devices at a cloud it took 70 to 130 ms to go over all, in which no frame was answered. What
    is in no cycle is freed when nothing refers to it any more, as ever."""
    whole_at_s = time.monotonic()

    def look(phase: str, info: dict[str, int]) -> None:
        nonlocal whole_at_s
        if info["generation"] < 2:
            return
        if phase == "stop":
            gc.freeze()
        elif time.monotonic() - whole_at_s >= _SEARCH_S:
            whole_at_s = time.monotonic()
            gc.unfreeze()

    gc.freeze()
    gc.enable()
    gc.callbacks.append(look)
    try:
        yield
    finally:
        gc.callbacks.remove(look)


class Supervised:
    """Supervision of the command that runs; `context` is its context."""

    def __init__(self, context: click.Context) -> None:
        self._context = context
        self.surroundings = surroundings.of(context)
        self.is_supervised = bool(os.environ.get("NOTIFY_SOCKET"))
        if self.is_supervised:
            self._notifier = self.surroundings.notifier()
        gc.disable()  # until it runs, as while its command was imported
        context.call_on_close(gc.enable)

    def starting(self, words: str) -> None:
        if self.is_supervised:
            self._notifier.starting(words, within_s=_STEP_S)

    def alive(self) -> None:
        """Something was done that a program which hangs does not do."""
        if self.is_supervised:
            self._notifier.ping_watchdog()

    @contextmanager
    def _running(self, served: "Callable[[], Served]", reload: Callable[[], None]) -> Iterator[None]:
        """On SIGHUP the configuration is read again."""
        with ExitStack() as running:
            running.enter_context(cycles_sought_in_what_is_new())
            if self.is_supervised or command.has_file(self._context):
                from edge_runtime.service.notify import Notifier
                from edge_runtime.service.supervision import Supervision

                notifier = self._notifier if self.is_supervised else Notifier({})
                supervision = Supervision(served(), notifier, reload)
                running.enter_context(self.surroundings.reloaded_by_signal(supervision.ask_to_reload))
                running.enter_context(supervision)
            yield

    def _again(self, changeable: Collection[str], apply: Callable[[Mapping[str, Any], frozenset[str]], None]) -> None:
        """Reads the configuration; `apply` gets its values, and the names of those that changed."""
        fresh = command.again(self._context)
        changed = command.changes(self._context, fresh)
        apply(fresh.params, changed)
        self._context.params.update({name: fresh.params[name] for name in changed if name in changeable})
        log.info("configuration read again changed=%s", ",".join(sorted(changed & {*changeable})) or "nothing")
        if fixed := changed - {*changeable}:
            self.surroundings.need_restart(command.keys(self._context.command, fixed))


class SupervisedCloud(Supervised):
    """A cloud; see `Supervised`."""

    @contextmanager
    def supervised(self, served: "Callable[[], Served]", take: Callable[[tuple[Path, ...]], None]) -> Iterator[None]:
        """Around the clouds' run. `take` is called with the packages where these have changed."""
        with self._running(served, lambda: self._again(("pkgs",), partial(self._apply, take))):
            yield

    @staticmethod
    def _apply(take: Callable[[tuple[Path, ...]], None], given: Mapping[str, Any], changed: frozenset[str]) -> None:
        if "pkgs" in changed:
            take(given["pkgs"])


class SupervisedEdge(Supervised):
    """An edge; see `Supervised`."""

    _golden: Mapping[str, object] | None = None

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
        """Around `Edge.run`. `planned` are the settings of a plan."""
        from edge_runtime.delivery.settings import CHANGEABLE

        def state() -> "Served":
            from edge_runtime.service.supervision import EdgeState

            return EdgeState(edge, online)

        edge.describe("golden", self._golden)
        apply = partial(self._apply, edge, planned)
        with self.surroundings.running(edge), self._running(state, lambda: self._again(CHANGEABLE, apply)):
            yield

    @staticmethod
    def _apply(edge: "Edge", planned: Mapping[str, Any], given: Mapping[str, Any], _changed: frozenset[str]) -> None:
        edge.reload(_settings(edge.settings, planned, given))


def _settings(settings: "Settings", planned: Mapping[str, Any], given: Mapping[str, Any]) -> "Settings":
    """`settings`, in which those that may change while the edge runs have the values of `given`."""
    from edge_runtime.delivery.settings import CHANGEABLE, Settings

    values = {**planned, **delivery.of(given).settings()}
    if given["rate_fps"] is not None:
        values["rate_fps"] = given["rate_fps"]
    names = (*CHANGEABLE, "delivery", "qos")
    kept = {name: value for name, value in values.items() if name in names}
    fresh = Settings(settings.deployment, settings.device, settings.boot, **kept)
    return replace(settings, **{name: getattr(fresh, name) for name in CHANGEABLE})
