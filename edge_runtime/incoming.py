"""What comes in for an edge: answers to its frames, what clouds announce, and others of its name; and what is to be
done regularly beside.

A thread of its own sees to it. Where frames follow one another so soon that this would interrupt a head at each answer,
which then finds its caches cold, the compute thread does it between two frames, and the other one only if it is late.
"""

import logging
import math
import threading
import time
from collections.abc import Callable

from broker.transport.protocol import Message, Transport

log = logging.getLogger(__name__)

# How often it is checked which frames are overdue or too old, and what else is due.
_TEND_S = 0.1
# What `broker.mqtt.driving` takes for soon: how late the compute thread is at most before the other one sees to it.
_SOON_S = 0.01


class Incoming:
    """`take` is given each message, and `tend` is called every `_TEND_S`, by one thread at a time; with `may_share`
    that may be the one that calls `look`. What they raise is told to `on_failure`, and nothing comes in after it."""

    def __init__(
        self,
        transport: Transport,
        take: Callable[[Message], None],
        tend: Callable[[float], None],
        on_failure: Callable[[Exception], None],
        *,
        may_share: bool,
    ) -> None:
        self._transport = transport
        self._take, self._tend, self._on_failure = take, tend, on_failure
        self._may_share = may_share
        self._seeing = threading.Lock()
        self._is_alone = threading.Event()  # the thread of its own sees to all of it
        self._is_alone.set()
        self._is_over = False
        self._looked_at_s = -math.inf
        self._tended_at_s = self._seen_until_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="edge-results", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_over = True
        self._is_alone.set()
        self._thread.join()

    def look(self) -> bool:
        """For the compute thread, between two frames: takes what has come. Whether it is this thread that does: then
        what it waits for comes by `wait`."""
        now_s = time.monotonic()
        is_soon = self._may_share and now_s - self._looked_at_s < _SOON_S
        self._looked_at_s = now_s
        if is_soon is self._is_alone.is_set():
            (self._is_alone.clear if is_soon else self._is_alone.set)()
        return is_soon and self._see(0.0, waits=False)

    def wait(self) -> None:
        """For the compute thread: until something came, or `_TEND_S` have passed."""
        self._see(_TEND_S, waits=False)
        self._looked_at_s = time.monotonic()

    def leave(self) -> None:
        """The compute thread looks no more."""
        self._is_alone.set()

    def _see(self, timeout_s: float, *, waits: bool) -> bool:
        """Takes what has come, or comes within `timeout_s`; False if the other thread is at it, unless this one
        `waits` for it."""
        if self._is_over or not self._seeing.acquire(blocking=waits):
            return False
        try:
            self._seen_until_s = time.monotonic() + timeout_s
            message = self._transport.receive(timeout_s)
            while True:
                if message is not None:
                    self._take(message)
                    self._transport.acknowledge(message)
                now_s = time.monotonic()
                if now_s - self._tended_at_s >= _TEND_S:
                    self._tended_at_s = now_s
                    self._tend(now_s)
                if message is None or self._is_over:
                    break
                message = self._transport.receive(0.0)
        except Exception as failure:  # noqa: BLE001 - raised again by `Edge.run`, in the caller's thread
            # It would be printed and forgotten otherwise, and the edge would wait for answers for ever.
            self._is_over = True
            self._on_failure(failure)
        finally:
            self._seen_until_s = time.monotonic()
            self._seeing.release()
        return True

    def _run(self) -> None:
        while not self._is_over:
            left_s = self._seen_until_s + _SOON_S - time.monotonic()
            if left_s <= 0 or self._is_alone.is_set() or self._is_alone.wait(left_s):
                self._see(_TEND_S, waits=True)
