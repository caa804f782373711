"""Letters on their way out: a little of them in the transport, the rest here, where a change of placement drops them.

The transport's queue is the way of everything else that a worker says, so it is kept short: over a slow link a word of
the source would wait there behind the letters of a placement that is over.
"""

import threading
from collections import deque

from broker.transport.protocol import Transport
from tflsplit import errors

# What may be in the transport: as much as a link of 100 Mbit/s carries in a round trip of 40 ms.
_MOST_BYTES = 1 << 19
_LOOK_S = 0.05


class Outgoing:
    """A thread of its own publishes what the transport has no room for; any may `put`, and `drop` all of it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._in_transport = 0
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._send, name="peer-send", daemon=True)

    def __len__(self) -> int:
        return len(self._waiting)

    def start(self) -> None:
        self._thread.start()

    def put(self, topic: str, message: bytes) -> None:
        """At once if there is room, else behind what waits."""
        with self._changed:
            if self._waiting or not self._publish(topic, message):
                self._waiting.append((topic, message))
                self._changed.notify_all()

    def drop(self) -> None:
        with self._changed:
            self._waiting.clear()

    def close(self, timeout_s: float) -> None:
        """After what waits, or after that time."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, timeout_s)
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()

    def _publish(self, topic: str, message: bytes) -> bool:
        if self._in_transport >= _MOST_BYTES:
            if not self._transport.flush(0.0):
                return False
            self._in_transport = 0
        if not self._transport.try_publish(topic, message, qos=1):
            return False
        self._in_transport += len(message)
        return True

    def _send(self) -> None:
        while not self._is_over:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_over, _LOOK_S)
                while self._waiting and self._publish_next():
                    pass
                has_more = bool(self._waiting)
            if has_more:
                self._transport.flush(_LOOK_S)

    def _publish_next(self) -> bool:
        try:
            if not self._publish(*self._waiting[0]):
                return False
        except errors.BrokerError:  # closed, or a limit that shrank: the frame is computed again, or the worker ends
            self._waiting.clear()
            return False
        self._waiting.popleft()
        self._changed.notify_all()
        return True
