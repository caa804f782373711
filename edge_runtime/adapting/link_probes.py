"""Probes of the link while no features travel: without them a device that answers everything itself would never learn
that the link is good again. Small ones tell the round trip, large ones the rate; a cloud answers both, and at once.

One that is sent behind a frame that is overdue, and comes back before its answer, says that the link let both through.
"""

import secrets
import time
from collections.abc import Callable

from broker.messages import probes, topics
from broker.transport.protocol import ConnectionState, Transport
from tflsplit.planning import network
from tflsplit.switching.policy import Answer, Probing

# A probe without an answer for so long is given up, and another one may go.
_LOST_S = 10.0


class LinkProbes:
    """One is on its way at a time. One thread at a time. `bytes` are of probes and answers, with every header."""

    def __init__(
        self,
        transport: Transport,
        deployment: str,
        device: str,
        probing: Probing,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self.sent = self.bytes = self.lost = 0
        self._transport = transport
        self._probing = probing
        self._may_send = may_send
        self._asking = topics.topic(deployment, device, topics.Kind.TELEMETRY)
        self._run = secrets.randbits(64)
        self._filling = secrets.token_bytes(int(probing.large_bytes))  # a link that compresses must gain nothing
        self._out: tuple[int, float, int] | None = None
        self._back: tuple[float, float] | None = None  # when the last one that was answered was sent, and came back
        self._large_s = self._small_s = time.monotonic()

    def features_left(self, now_s: float) -> None:
        self._large_s = now_s

    def tend(self, now_s: float, *, is_quiet: bool) -> None:
        """Called regularly; `is_quiet` says that no frame waits for its answer."""
        if self._out is not None and now_s - self._out[1] > _LOST_S:
            self._out = None
            self.lost += 1
        if self._out is not None or not is_quiet or self._transport.state is not ConnectionState.ONLINE:
            return
        if now_s - self._large_s >= self._probing.large_every_s:
            self._send(now_s, int(self._probing.large_bytes))
            self._large_s = now_s
        elif now_s - self._small_s >= self._probing.small_every_s:
            self.ask(now_s)

    def ask(self, now_s: float) -> None:
        """Sends a small one now, unless one is out."""
        if self._out is None:
            self._send(now_s, int(self._probing.small_bytes))
            self._small_s = now_s

    def came_back(self, since_s: float) -> float | None:
        """When one came back that was sent after that; None if none did."""
        return self._back[1] if self._back is not None and self._back[0] > since_s else None

    def take(self, payload: bytes, now_s: float) -> Answer | None:
        """What an answer to the probe that is out tells; None for any other message."""
        if self._out is None or probes.number_of(payload, self._run) != self._out[0]:
            return None
        _, sent_s, size = self._out
        self._out, self._back = None, (sent_s, now_s)
        self.bytes += int(network.wire_bytes(len(payload)))
        link_s = max(0.0, now_s - sent_s - probes.waited_s(payload))
        return Answer(None, sent_s, size * 8.0, 0.0, link_s)

    def pending(self) -> tuple[float, float] | None:
        """Since when one is out, and its bits."""
        return None if self._out is None else (self._out[1], self._out[2] * 8.0)

    def _send(self, now_s: float, size: int) -> None:
        asked = probes.message(self._run, self.sent % (1 << 32), self._filling[: size - probes.LEAST_BYTES])
        if self._may_send() and self._transport.try_publish(self._asking, asked, qos=0):
            self._out = (self.sent % (1 << 32), now_s, size)
            self.sent += 1
            self.bytes += int(network.wire_bytes(len(asked)))
