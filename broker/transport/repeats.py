"""What a broker took charge of shortly before a connection was lost, to be said again on the next one.

A broker that saves what it holds every ten seconds loses, when it is killed, what it took since. Readers who were away
would never get it: they leave out what they get twice. Bounded, and for the network thread alone.
"""

import collections
import logging
from collections.abc import Callable, Iterator

from broker.transport.bounded_queues import Outgoing

_log = logging.getLogger(__name__)

# Mosquitto's interval of 10 s is 11 s by its clock of whole seconds, and a cloud notices after 7.5 s that a broker is
# silent (`broker.mqtt.online.QUICK_KEEPALIVE_S`).
_UNSAVED_S = 20.0
# Readers whose session died with the broker need a moment to come back and to subscribe again.
_SUBSCRIBED_S = 5.0
# 20 s of 2,000 results a second. What does not fit is counted.
_MOST_BYTES = 32 << 20
# What Python needs for a message besides its payload.
_MESSAGE_BYTES = 512
# Each time is a connection of more than `_SUBSCRIBED_S`: a link that comes and goes must not carry it for ever.
_MOST_TIMES = 8


class Repeats:
    """Told of every acknowledgement, loss and connection of one transport. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._recent: collections.deque[tuple[float, Outgoing]] = collections.deque()
        self._recent_bytes = 0
        self._left_out: collections.deque[float] = collections.deque(maxlen=1 << 16)  # when what had no room was taken
        self._waiting: collections.deque[Outgoing] = collections.deque()
        self._due_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def acknowledged(self, outgoing: Outgoing) -> None:
        """What is retained is said again by whoever said it, in its newest form."""
        now_s = self._clock()
        while self._recent and self._recent[0][0] < now_s - _UNSAVED_S:
            self._drop()
        if outgoing.retain or outgoing.is_ours or outgoing.repeats >= _MOST_TIMES:
            return
        again = Outgoing(outgoing.topic, outgoing.payload, outgoing.qos, sendings=1, repeats=outgoing.repeats + 1)
        self._recent.append((now_s, again))
        self._recent_bytes += _bytes(again)
        while self._recent_bytes > _MOST_BYTES:
            self._left_out.append(self._drop())

    def lost(self) -> None:
        """The connection is gone, and maybe the broker with all that it did not save."""
        since_s = self._clock() - _UNSAVED_S
        self._waiting.extend(outgoing for at_s, outgoing in self._recent if at_s >= since_s)
        if left_out := sum(at_s >= since_s for at_s in self._left_out):
            _log.warning("a broker that died may lose messages that are not said again messages=%d", left_out)
        self._recent.clear()
        self._left_out.clear()
        self._recent_bytes = 0

    def online(self) -> None:
        self._due_s = self._clock() + _SUBSCRIBED_S
        if self._waiting:
            _log.info("messages are said again: the broker may have lost them messages=%d", len(self._waiting))

    def due(self, has_room: Callable[[Outgoing], bool]) -> Iterator[Outgoing]:
        """In the order of their acknowledgements, as long as there is room."""
        while self._waiting and self._clock() >= self._due_s and has_room(self._waiting[0]):
            yield self._waiting.popleft()

    def _drop(self) -> float:
        at_s, outgoing = self._recent.popleft()
        self._recent_bytes -= _bytes(outgoing)
        return at_s


def _bytes(outgoing: Outgoing) -> int:
    return outgoing.held_bytes + _MESSAGE_BYTES
