"""Publishes how many frames wait in a cloud, and how long, every few seconds, for people who watch."""

import logging
import threading
import time
from collections.abc import Collection

from broker.cloud.engine import Engine
from broker.cloud.subscriber import Cloud
from broker.messages import topics
from broker.messages.watched.load import Load
from broker.transport.protocol import ConnectionState, Transport
from tflsplit import errors
from tflsplit.timings.latency import Latencies, percentiles

log = logging.getLogger(__name__)

# A cloud is behind when half of its frames wait longer for a tail, for so long: a burst is over sooner.
_WAIT_MS, _BEHIND_S = 500.0, 30.0


class Pace:
    """Whether frames come faster than a cloud's tails take them; said once in the log, and once when that is over."""

    def __init__(self, deployment: str) -> None:
        self._deployment = deployment
        self._since_s: float | None = None
        self.why: str | None = None

    def take(self, waited_ms: float | None, now_s: float) -> None:
        """The median of what frames waited since the last call; None, where none was answered, says nothing."""
        if waited_ms is None:
            return
        if waited_ms < _WAIT_MS:
            if self.why is not None:
                log.info("tails keep up with the frames again deployment=%s", self._deployment)
            self._since_s = self.why = None
            return
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s >= _BEHIND_S:
            if self.why is None:
                log.warning(
                    "frames come faster than tails take them deployment=%s waited_ms=%.0f remedy='--workers, more "
                    "clouds with --share, or fewer frames'",
                    self._deployment,
                    waited_ms,
                )
            self.why = f"frames come faster than tails take them: half wait over {waited_ms / 1e3:.1f} s"


class LoadReports:
    """Publishes at QoS 0 every `every_s`. Without room or broker a message is left out: the next one says all."""

    def __init__(
        self, cloud: Cloud, engine: Engine, transport: Transport, *, name: str, boot: int, every_s: float
    ) -> None:
        self._cloud = cloud
        self._engine = engine
        self._transport = transport
        self._topic = topics.topic(cloud.deployment, name, topics.Kind.LOAD)
        self._boot = boot
        self._every_s = every_s
        self._at_s = time.monotonic()
        self._results = 0
        self._pace = Pace(cloud.deployment)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"load-{cloud.deployment}", daemon=True)

    def __enter__(self) -> "LoadReports":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def message(self) -> Load:
        """The current message; rates and times are of what came since the last call."""
        now_s, summary, engine = time.monotonic(), self._cloud.summary, self._engine
        fresh = summary.results - self._results
        fps = fresh / max(1e-9, now_s - self._at_s)
        self._at_s, self._results = now_s, summary.results
        broken, queue_ms = self._broken(), percentiles(_last(summary.queue_s, fresh))
        self._pace.take(queue_ms["p50"], now_s)
        return Load(
            boot=self._boot,
            state="ok" if broken is None else "stuck",
            why=broken or self._pace.why,
            frames=summary.frames,
            results=summary.results,
            fps=round(fps, 2),
            held=self._cloud.held,
            waiting=engine.waiting,
            workers=engine.workers,
            refused={reason.value: count for reason, count in dict(summary.refused).items()},
            queue_ms=queue_ms,
            tail_ms=percentiles(_last(summary.tail_s, fresh)),
        )

    def _broken(self) -> str | None:
        try:
            self._engine.check()
        except errors.DeviceError as broken:
            return str(broken)
        return None

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            if self._transport.state is not ConnectionState.ONLINE:
                continue
            try:
                self._transport.try_publish(self._topic, self.message().as_json(), qos=0)
            except errors.BrokerError as problem:
                log.warning("load left out topic=%s reason=%s", self._topic, problem)


def _last(kept: Latencies, count: int) -> Collection[float]:
    return list(kept)[-count:] if count else []
