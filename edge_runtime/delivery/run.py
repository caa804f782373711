"""One run of an edge: what its parts share while it streams, and whether it goes on."""

import time
from typing import TYPE_CHECKING

from broker.transport.protocol import Transport
from edge_runtime.delivery.clouds import Clouds
from edge_runtime.delivery.observer import Observer
from edge_runtime.delivery.settings import Settings
from edge_runtime.delivery.summary import Summary
from edge_runtime.delivery.window import Window
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # an edge without a spool does not load SQLite
    from edge_runtime.delivery.durable.spool import Spool


@dataclass(slots=True, eq=False)
class Run:
    """`settings` are others after a reload, so who holds the run asks it for them. `failure` ends it."""

    transport: Transport
    settings: Settings
    summary: Summary
    observers: tuple[Observer, ...]
    window: Window
    clouds: Clouds
    spool: "Spool | None" = None
    stopped_at_s: float | None = None
    failure: Exception | None = None

    @property
    def is_stopping(self) -> bool:
        return self.stopped_at_s is not None

    def stop(self) -> None:
        self.stopped_at_s = time.monotonic()

    def fail(self, failure: Exception) -> None:
        self.failure = failure
        self.stop()

    def owns(self, boot: int) -> bool:
        """Whether that boot is this run, or one before it whose frames are in the spool."""
        return boot == self.settings.boot or (self.spool is not None and self.spool.knows(boot))
