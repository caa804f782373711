"""A worker: one machine of several that compute one model together."""

import contextlib
import dataclasses
import secrets

from broker.transport.credentials import Role
from broker.transport.memory import MemoryBroker
from edge_runtime.peers import worker as workers
from edge_runtime.peers.settings import Settings
from edge_runtime.peers.summary import Summary
from edge_runtime.sources import frames
from edge_runtime.sources.frames import Source
from tflsplit import arguments, quantities
from tflsplit.api import connections
from tflsplit.arguments import PathLike
from tflsplit.graph.tensors import Array
from tflsplit.kernels import keeping
from tflsplit.placement import folder


class Worker:
    """One machine's share of the model in `bundle`, a folder that `tflsplit distribute -o` wrote.

    `broker`, `credentials` and the names are as for an `Edge`; `name` is that of the machine in the placement. Without
    a `broker` machines meet at the addresses that were stated to `tflsplit distribute`, if any were. All other words
    are those of `tflsplit worker --help`; times are seconds, or texts as "90s".
    """

    def __init__(
        self,
        bundle: PathLike,
        broker: str | MemoryBroker | None = None,
        *,
        deployment: str | None = None,
        name: str | None = None,
        credentials: PathLike | None = None,
        window: int | None = None,
        delivery: str = "all",
        wait: str | float = 30.0,
        lost_after: str | float = 5.0,
        resend_after: str | float = 10.0,
        drain: str | float = 30.0,
        allow_inexact: bool = False,
        replan: bool = True,
        raw_outputs: bool = False,
        mask: bool = False,
        once: bool = False,
        threads: int = 1,
        pace: str | float | None = None,
    ) -> None:
        speaker = connections.speaker(deployment, name, "name", credentials)
        self.shared = folder.open_folder(bundle)
        self._settings = Settings(
            *speaker,
            window=window,
            is_latest=arguments.one_of(delivery, ["all", "latest"], "delivery") == "latest",
            wait_s=quantities.parse_duration(wait, "wait"),
            lost_after_s=quantities.parse_duration(lost_after, "lost_after"),
            resend_after_s=quantities.parse_duration(resend_after, "resend_after"),
            drain_s=quantities.parse_duration(drain, "drain"),
            allows_inexact=allow_inexact,
            replans=replan,
            wants_raw=raw_outputs,
            wants_mask=mask,
            ends_with_source=once,
            threads=threads,
            pace=self.shared.plan.paced(self.shared.machine(speaker[1]), pace),
        )
        own = self.shared.plan.url(self.shared.machine(speaker[1]))
        self._broker = connections.reached(own if broker is None else broker, credentials, speaker, Role.WORKER)
        self._running: workers.Worker | None = None

    def __repr__(self) -> str:
        name, plan = self._settings.name, self.shared.plan
        return f"<worker {name} of {', '.join(plan.machines)}: {plan.package_name}>"

    def run(
        self,
        source: "PathLike | Array | list[Array] | Source | None" = None,
        *,
        count: int | None = None,
        rate: float | None = None,
    ) -> Summary:
        """Compute until `stop`, or, where the inputs are, until those of `source` are answered; may be called again.

        PeerError where this machine may not take part, or does not have what the others have.
        """
        settings = dataclasses.replace(self._settings, boot=secrets.randbits(64), count=count, rate_fps=rate)
        speaker = (settings.deployment, settings.name)
        with contextlib.ExitStack() as stack:
            inputs = None if source is None else stack.enter_context(contextlib.closing(self._opened(source)))
            online = stack.enter_context(connections.connected(self._broker, speaker, settings.boot, is_quick=True))
            self._running = workers.Worker(self.shared, online, settings, kernel_class=keeping.told())
            return self._running.run(inputs)

    def _opened(self, source: "PathLike | Array | list[Array] | Source") -> Source:
        if isinstance(source, Source):
            return source
        connect = connections.of_pictures(lambda: self._broker, (self._settings.deployment, self._settings.name))
        return frames.open_source(source, self.shared.package.manifest, connect=connect)

    def stop(self) -> None:
        """Ends `run` from another thread; where the inputs are, once those that were taken are answered."""
        if self._running is not None:
            self._running.stop()
