"""What a broker may have forgotten or given to nobody, to be said again.

A broker that saves what it holds every ten seconds loses, when it is killed, what it took since; and what it takes next
goes past readers whose session it forgot, until they are back. So a message is said again if the connection is lost
soon after its acknowledgement, or if that came soon after the connection began. Readers leave out what they get twice.
Bounded, and for the network thread alone.
"""

import collections
import logging
from collections.abc import Callable, Iterator

from broker.transport.bounded_queues import Outgoing

_log = logging.getLogger(__name__)

# Mosquitto's interval of 10 s is 11 s by its clock of whole seconds, and a cloud notices after 7.5 s that a broker is
# silent (`broker.transport.online.QUICK_KEEPALIVE_S`).
_UNSAVED_S = 20.0
# Readers whose session died with the broker try again every 3.25 s at most while nothing answers (`backoff`), and then
# have to shake hands over their link and to subscribe.
_SUBSCRIBED_S = 10.0
# 20 s of 2,000 results a second. What does not fit is counted.
_MOST_BYTES = 32 << 20
# What Python needs for a message besides its payload.
_MESSAGE_BYTES = 512
# Each time is a connection of more than `_SUBSCRIBED_S`: a link that comes and goes must not carry it for ever, and a
# broker that lives that long has saved it before.
_MOST_TIMES = 8
# What waits is said over so many seconds, and no slower than at that rate, a quarter of a second's together: all at
# once it would stand before the results of everybody, and of a device that floods it is a lot.
_SPREAD_S, _LEAST_PER_S, _TOGETHER_S = 5.0, 200.0, 0.25
# Twice the network thread's longest sleep. Longer ones are those of the process or the machine: what the broker did
# meanwhile shows only afterwards, so they make nothing older.
_LOOK_S = 1.0


class Repeats:
    """Told of every acknowledgement, loss and connection of one transport. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._looked_s = clock()
        self._now_s = 0.0  # seconds in which somebody looked
        self._recent: collections.deque[tuple[float, Outgoing]] = collections.deque()
        self._waiting: collections.deque[Outgoing] = collections.deque()
        self._held_bytes = 0  # of both
        self._left_out: collections.deque[float] = collections.deque(maxlen=1 << 16)  # when what had no room was taken
        self._due_s = self._next_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def acknowledged(self, outgoing: Outgoing) -> None:
        """What is retained is said again by whoever said it, in its newest form."""
        self._look()
        while self._recent and self._recent[0][0] < self._now_s - _UNSAVED_S:
            self._held_bytes -= _bytes(self._recent.popleft()[1])
        if outgoing.retain or outgoing.is_ours:
            return
        if outgoing.repeats >= _MOST_TIMES:
            self._left_out.append(self._now_s)
            return
        again = Outgoing(outgoing.topic, outgoing.payload, outgoing.qos, sendings=1, repeats=outgoing.repeats + 1)
        if self._now_s < self._due_s:
            self._waiting.append(again)
        else:
            self._recent.append((self._now_s, again))
        self._held_bytes += _bytes(again)
        while self._held_bytes > _MOST_BYTES:
            self._leave_out()

    def lost(self) -> None:
        """The connection is gone, and maybe the broker with all that it did not save. What waited goes on waiting."""
        self._look()
        since_s = self._now_s - _UNSAVED_S
        for at_s, outgoing in self._recent:
            if at_s >= since_s:
                self._waiting.append(outgoing)
            else:
                self._held_bytes -= _bytes(outgoing)
        self._recent.clear()
        if left_out := sum(at_s >= since_s for at_s in self._left_out):
            _log.warning("a broker that died may lose messages that are not said again messages=%d", left_out)
        self._left_out.clear()

    def online(self) -> None:
        self._look()
        self._due_s = self._now_s + _SUBSCRIBED_S
        if self._waiting:
            _log.info("messages are said again: the broker may have lost them messages=%d", len(self._waiting))

    def due(self, has_room: Callable[[Outgoing], bool]) -> Iterator[Outgoing]:
        """In the order of their acknowledgements, as long as there is room, and not all at once."""
        self._look()
        while self._waiting and self._now_s >= max(self._due_s, self._next_s) and has_room(self._waiting[0]):
            pause_s = 1 / max(_LEAST_PER_S, len(self._waiting) / _SPREAD_S)
            self._next_s = max(self._next_s, self._now_s - _TOGETHER_S) + pause_s
            outgoing = self._waiting.popleft()
            self._held_bytes -= _bytes(outgoing)
            yield outgoing

    def _look(self) -> None:
        now_s = self._clock()
        self._now_s += min(now_s - self._looked_s, _LOOK_S)
        self._looked_s = now_s

    def _leave_out(self) -> None:
        """First of what is probably saved."""
        at_s, outgoing = self._recent.popleft() if self._recent else (self._now_s, self._waiting.popleft())
        self._held_bytes -= _bytes(outgoing)
        self._left_out.append(at_s)


def _bytes(outgoing: Outgoing) -> int:
    return outgoing.held_bytes + _MESSAGE_BYTES
