"""What a broker may have forgotten or given to nobody, to be said again.

A broker that saves what it holds from time to time loses, when it is killed, what it took since; and what it takes next
goes past readers whose session it forgot, until they are back. How often it saves is its own affair, and nobody can ask
it. So we leave a mark there, a retained message that tells our time, each second anew. What a later connection finds of
it was saved together with all that the broker had acknowledged before: whatever came after that mark is said again. So
is what came in the last seconds before the connection was lost, for brokers that keep retained messages apart from the
others, and what came soon after it began. Readers leave out what they get twice.

Bounded, and for the network thread alone.
"""

import collections
import logging
import math
import secrets
from collections.abc import Callable, Iterator

from broker.transport.bounded_queues import Outgoing
from tflsplit.coding.feature_codec import Buffer

_log = logging.getLogger(__name__)

# Said again whatever the mark says, or where there is none: 11 s are an interval of 10 s by Mosquitto's clock of whole
# seconds, and a cloud notices after 7.5 s that a broker is silent (`broker.transport.online.QUICK_KEEPALIVE_S`).
_UNSAVED_S = 20.0
# Readers whose session died with the broker try again every 3.25 s at most while nothing answers (`backoff`), and then
# have to shake hands over their link and to subscribe.
SUBSCRIBED_S = 10.0
# More than a minute of 1,000 results a second, each of 600 bytes. What does not fit is counted.
_MOST_BYTES = 64 << 20
# What Python needs for a message besides topic and payload.
_MESSAGE_BYTES = 224
# Mosquitto saves twice an hour where nothing is configured.
_OLDEST_S = 3600.0
# Each time is a connection of more than `SUBSCRIBED_S`: a link that comes and goes must not carry it for ever, and a
# broker that lives that long has saved it before.
_MOST_TIMES = 8
# What waits is said over so many seconds, and no slower than at that rate, a quarter of a second's together: all at
# once it would stand before the results of everybody, and of a device that floods it is a lot.
_SPREAD_S, _LEAST_PER_S, _TOGETHER_S = 5.0, 200.0, 0.25
# Twice the network thread's longest sleep. Longer ones are those of the process or the machine: what the broker did
# meanwhile shows only afterwards, so they make nothing older.
_LOOK_S = 1.0
_MARK_S = 1.0
# Later than any time: what is known to be due is due whatever becomes of the next connection.
_SURELY_S = 1e12
# So many marks, or connections that ended behind one, without hearing any: the broker lets us not write or not read it.
_IN_VAIN = 3

# When it was acknowledged, topic, payload, QoS, and how often it was said again. Python's collector of garbage does not
# look at tuples of such, and there may be a hundred thousand.
_Held = tuple[float, str, Buffer, int, int]


class Repeats:
    """Told of every acknowledgement, loss and connection of one transport, and of what comes on `mark_topic`, where
    nobody else writes. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], mark_topic: str) -> None:
        self.mark_topic = mark_topic
        self._clock = clock
        self._looked_s = clock()
        self._now_s = 0.0  # seconds in which somebody looked
        self._boot = secrets.token_hex(8)
        self._has_marks = False  # whether one of ours was ever heard
        self._found_s = -math.inf  # the mark that this connection began with
        self._marked_s, self._in_vain, self._ended = 0.0, 0, 0
        self._recent: collections.deque[_Held] = collections.deque()
        self._waiting: collections.deque[_Held] = collections.deque()
        self._held_bytes = 0  # of both
        # What had no room: when the last of a second was acknowledged, and how many of that second there are.
        self._left_out: dict[float, tuple[float, int]] = {}
        self._lost_s: float | None = None  # when the first connection was lost of which it is not settled what is due
        self._due_s = self._next_s = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def acknowledged(self, outgoing: Outgoing) -> None:
        """What is retained is said again by whoever said it, in its newest form."""
        self._look()
        while self._recent and self._recent[0][0] < self._now_s - (_OLDEST_S if self._has_marks else _UNSAVED_S):
            self._held_bytes -= _bytes(self._recent.popleft())
        if outgoing.retain or outgoing.is_ours:
            return
        held = (self._now_s, outgoing.topic, outgoing.payload, outgoing.qos, outgoing.repeats + 1)
        self._held_bytes += _bytes(held)
        if outgoing.repeats >= _MOST_TIMES:
            self._forget(held)
            return
        (self._waiting if self._now_s < self._due_s else self._recent).append(held)
        while self._held_bytes > _MOST_BYTES:
            self._leave_out()

    @property
    def is_refused(self) -> bool:
        """Whether the broker gives no mark back, or hangs up because of one."""
        return not self._has_marks and max(self._in_vain, self._ended) >= _IN_VAIN

    def lost(self) -> None:
        """The connection is gone, and maybe the broker with all that it did not save. What waited goes on waiting."""
        self._look()
        if self._in_vain and not self._has_marks and not self.is_refused:
            self._ended += 1
            self._warn()
        self._waiting.extend(self._recent)
        self._recent.clear()
        self._lost_s = self._now_s if self._lost_s is None else self._lost_s

    def online(self) -> None:
        self._look()
        self._due_s = self._now_s + SUBSCRIBED_S
        self._found_s = -math.inf
        self._in_vain = 0 if self._has_marks else self._in_vain

    def mark(self) -> Outgoing | None:
        """What is to be left at the broker now, if anything: not before all that it may have lost is there again."""
        is_new = bool(self._recent) and self._recent[-1][0] >= self._marked_s
        is_due = self._now_s >= max(self._due_s, self._marked_s + _MARK_S)
        if not is_new or not is_due or self._waiting or self._in_vain >= _IN_VAIN or self.is_refused:
            return None
        self._marked_s = self._now_s
        self._in_vain += 1
        self._warn()
        payload = f"{self._boot} {self._now_s:.3f}".encode()
        return Outgoing(self.mark_topic, payload, 1, retain=True, is_ours=True)

    def heard(self, payload: Buffer, *, is_retained: bool) -> None:
        """What stands at the mark's topic, or was just written there."""
        boot, _, told = bytes(payload).partition(b" ")
        if boot == self._boot.encode():
            self._has_marks, self._in_vain = True, 0
            if is_retained:
                self._found_s = float(told)

    def due(self, has_room: Callable[[Outgoing], bool]) -> Iterator[Outgoing]:
        """In the order of their acknowledgements, as long as there is room, and not all at once."""
        self._look()
        if self._lost_s is not None and self._now_s >= self._due_s:
            self._settle(self._lost_s - _UNSAVED_S)
        while self._waiting and self._now_s >= max(self._due_s, self._next_s):
            _, topic, payload, qos, repeats = self._waiting[0]
            outgoing = Outgoing(topic, payload, qos, sendings=1, repeats=repeats)
            if not has_room(outgoing):
                return
            pause_s = 1 / max(_LEAST_PER_S, len(self._waiting) / _SPREAD_S)
            self._next_s = max(self._next_s, self._now_s - _TOGETHER_S) + pause_s
            self._held_bytes -= _bytes(self._waiting.popleft())
            yield outgoing

    def _warn(self) -> None:
        if self.is_refused:
            _log.warning(
                "the broker keeps no mark for this cloud, so if it is killed only the results of the last %g s are "
                "said again: let the cloud write and read it topic=%s",
                _UNSAVED_S,
                self.mark_topic,
            )

    def _settle(self, since_s: float) -> None:
        """Of what was acknowledged before a connection was lost, the broker has all that is older."""
        self._lost_s = None
        if self._has_marks:
            since_s = min(since_s, self._found_s)
        kept = collections.deque((_SURELY_S, *held[1:]) for held in self._waiting if held[0] >= since_s)
        self._held_bytes -= sum(map(_bytes, self._waiting)) - sum(map(_bytes, kept))
        self._waiting = kept
        if kept:
            _log.info("messages are said again: the broker may have lost them messages=%d", len(kept))
        if left_out := sum(count for at_s, count in self._left_out.values() if at_s >= since_s):
            _log.warning("a broker that died may lose messages that are not said again messages=%d", left_out)
        self._left_out.clear()

    def _look(self) -> None:
        now_s = self._clock()
        self._now_s += min(now_s - self._looked_s, _LOOK_S)
        self._looked_s = now_s

    def _leave_out(self) -> None:
        """First of what is probably saved."""
        self._forget((self._recent or self._waiting).popleft())

    def _forget(self, held: _Held) -> None:
        self._held_bytes -= _bytes(held)
        second = held[0] // 1.0
        _, count = self._left_out.pop(second, (0.0, 0))
        self._left_out[second] = held[0], count + 1
        if len(self._left_out) > _OLDEST_S:
            del self._left_out[next(iter(self._left_out))]


def _bytes(held: _Held) -> int:
    return len(held[1]) + memoryview(held[2]).nbytes + _MESSAGE_BYTES
