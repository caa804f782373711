"""What a worker sends, made and published by a thread of its own, since the one that computes shall only compute.

A little of it is in the transport, the rest here, where a change of placement drops it: the transport's queue is the
way of everything else that a worker says, and over a slow link a word of the source would wait there behind the letters
of a placement that is over.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

from broker.transport.protocol import Transport
from tflsplit import errors

# What may be in the transport: as much as a link of 100 Mbit/s carries in a round trip of 40 ms.
_MOST_BYTES = 1 << 19
_LOOK_S = 0.05

# A topic, a message, and another such pair for when that has been delivered.
Message: TypeAlias = tuple[str, bytes, tuple[str, bytes] | None]


class Outgoing:
    """Any thread may `put`, and `drop` all that waits. What making a message raises goes to `on_failure`."""

    def __init__(self, transport: Transport, on_failure: Callable[[Exception], None]) -> None:
        self._transport = transport
        self._on_failure = on_failure
        self._waiting: deque[Callable[[], Iterator[Message]]] = deque()
        self._drops = 0
        self._in_transport = 0
        self._is_busy = self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="peer-send", daemon=True)

    def __len__(self) -> int:
        return len(self._waiting) + self._is_busy

    def start(self) -> None:
        self._thread.start()

    def put(self, make: Callable[[], Iterator[Message]]) -> None:
        """What `make` gives goes out behind all that was put before."""
        with self._changed:
            self._waiting.append(make)
            self._changed.notify_all()

    def drop(self) -> None:
        with self._changed:
            self._waiting.clear()
            self._drops += 1

    def close(self, timeout_s: float) -> None:
        """After what waits, or after that time."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over or not (self._waiting or self._is_busy), timeout_s)
            self._is_over = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (found := self._next()) is not None:
                self._send(*found)
        except Exception as failure:  # noqa: BLE001 - raised again by whoever is told
            self._on_failure(failure)
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _next(self) -> tuple[Callable[[], Iterator[Message]], int] | None:
        """With how often all was dropped until now; None at the end."""
        with self._changed:
            self._is_busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if self._is_over:
                return None
            self._is_busy = True
            return self._waiting.popleft(), self._drops

    def _send(self, make: Callable[[], Iterator[Message]], drops: int) -> None:
        for message in make():
            try:
                while not self._publish(*message):
                    self._transport.flush(_LOOK_S)
                    if self._is_over or self._drops != drops:
                        return
            except errors.BrokerError:
                # Closed, or a limit that shrank: the frame is computed again, or the worker ends.
                self.drop()
                return

    def _publish(self, topic: str, message: bytes, then: tuple[str, bytes] | None) -> bool:
        if self._in_transport >= _MOST_BYTES:
            if not self._transport.flush(0.0):
                return False
            self._in_transport = 0
        if not self._transport.try_publish(topic, message, qos=1, then=then):
            return False
        self._in_transport += len(message)
        return True
