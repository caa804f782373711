"""The two bounded queues of a transport: what goes out and what came in. Both say no rather than grow."""

import collections
import threading
from collections.abc import Iterable

from broker.transport.protocol import Limits, Message, publish_packet_bytes
from tflsplit.coding import feature_codec
from tflsplit.values.classes import dataclass, field

# What Python needs for a message besides its payload; counted, or a flood of empty ones would hold memory unseen.
_MESSAGE_BYTES = 512


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way. `expires_at_s` is by the transport's clock. `strikes` counts the connections that were
    lost while it was the likeliest cause; `sendings` how often it went to the broker. `number` is its
    place among all that `put` took. `follower` is sent once the broker has this one, and dropped with it.
    `repeats` counts how often it was said again after the broker had it."""

    topic: str
    payload: feature_codec.Buffer
    qos: int
    retain: bool = False
    expires_at_s: float | None = None
    sendings: int = 0
    strikes: int = 0
    number: int = 0
    follower: "Outgoing | None" = None
    repeats: int = 0
    is_ours: bool = False  # the transport's own word about itself: never refused for want of room
    packet_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        expires = self.expires_at_s is not None
        self.packet_bytes = publish_packet_bytes(self.topic, len(self.payload), qos=self.qos, expires=expires)


class Outbox:
    """Messages in the order they will be sent. Room is freed by `release`, when the broker has one, not by `take`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Taken by itself where nobody waits: each frame does that several times, and a condition's way to it is longer.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self.waiting: collections.deque[Outgoing] = collections.deque()  # what could not go yet, to be looked at only
        self._followers: dict[int, Outgoing] = {}  # by number, of messages that the broker does not have yet
        self._held_messages = 0
        self._held_bytes = 0
        self._last_number = 0
        self._is_closed = False

    @property
    def last_number(self) -> int:
        """Of the message that `put` took last."""
        return self._last_number

    def has_taken(self, number: int) -> bool:
        """Whether the message of that number, and with it all before it, is not waiting any longer."""
        with self._lock:
            is_followed = next(iter(self._followers), number + 1) <= number
            return not is_followed and (not self.waiting or self.waiting[0].number > number)

    @property
    def held(self) -> tuple[int, int]:
        """Messages and bytes taken in and not yet released."""
        with self._lock:
            return self._held_messages, self._held_bytes

    def put(self, outgoing: Outgoing, timeout_s: float) -> bool:
        """False if there was no room in time, or none will ever be because the outbox is closed."""
        with self._lock:
            if not self._has_room(outgoing):
                wait_s = min(timeout_s, threading.TIMEOUT_MAX)
                self._changed.wait_for(lambda: self._is_closed or self._has_room(outgoing), wait_s)
            if self._is_closed or not self._has_room(outgoing):
                return False
            self._number(outgoing)
            self.waiting.append(outgoing)
            if outgoing.follower is not None:
                self._number(outgoing.follower)
                self._followers[outgoing.follower.number] = outgoing.follower
            return True

    def put_first(self, outgoing: Outgoing) -> None:
        """Ahead of everything and beyond the bounds: for the few small messages that a transport sends about itself."""
        with self._lock:
            self._hold(outgoing)
            self.waiting.appendleft(outgoing)

    def has_half_its_room(self, outgoing: Outgoing) -> bool:
        """Whether what is said again may go in, and leave the rest of the room to what is new."""
        with self._lock:
            return self._held_messages == 0 or (
                2 * self._held_messages < self._limits.outbox_messages
                and 2 * (self._held_bytes + outgoing.packet_bytes) < self._limits.outbox_bytes
            )

    def put_again(self, outgoing: Outgoing) -> None:
        """Behind everything else. Nobody waits for it, so it has the number of what comes next."""
        with self._lock:
            self._hold(outgoing)
            outgoing.number = self._last_number + 1
            self.waiting.append(outgoing)

    def put_back(self, unsent: Iterable[Outgoing]) -> None:
        """Messages taken but not released, to be sent again before all others, in the order given."""
        with self._lock:
            self.waiting.extendleft(reversed(list(unsent)))

    def take(self, *, is_window_full: bool) -> Outgoing | None:
        """The next message, if there is one that may go: with a full window only QoS 0."""
        with self._lock:
            if not self.waiting or (is_window_full and self.waiting[0].qos > 0):
                return None
            return self.waiting.popleft()

    def release(self, outgoing: Outgoing, *, is_dropped: bool = False) -> None:
        """The broker has it, or it `is_dropped` and its follower with it."""
        with self._lock:
            self._held_messages -= 1
            self._held_bytes -= outgoing.packet_bytes
            follower = outgoing.follower
            if follower is not None:
                del self._followers[follower.number]
                if is_dropped:
                    self.release(follower, is_dropped=True)
                else:
                    self.waiting.appendleft(follower)
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float) -> bool:
        with self._lock:
            return self._changed.wait_for(lambda: self._held_messages == 0, min(timeout_s, threading.TIMEOUT_MAX))

    def close(self) -> None:
        """Refuses everything from now on, except by `put_first`; what is in can still be taken."""
        with self._lock:
            self._is_closed = True
            self._changed.notify_all()

    def _has_room(self, outgoing: Outgoing) -> bool:
        # A message larger than the whole bound may go alone: the packet limit is there to refuse it.
        messages, held_bytes = 1, outgoing.packet_bytes
        if outgoing.follower is not None:
            messages, held_bytes = 2, held_bytes + outgoing.follower.packet_bytes
        return self._held_messages == 0 or (
            self._held_messages + messages <= self._limits.outbox_messages
            and self._held_bytes + held_bytes <= self._limits.outbox_bytes
        )

    def _number(self, outgoing: Outgoing) -> None:
        self._hold(outgoing)
        self._last_number += 1
        outgoing.number = self._last_number

    def _hold(self, outgoing: Outgoing) -> None:
        self._held_messages += 1
        self._held_bytes += outgoing.packet_bytes


class Inbox:
    """Messages that came in and were not yet received by the consumer. Who takes from several waits for them with one
    lock, which they `share` before anything comes in."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        lock = threading.RLock()
        self.share(lock, threading.Condition(lock))
        self._waiting: collections.deque[Message] = collections.deque()
        self._qos0_messages = 0
        self._held_bytes = 0
        self.is_closed = False

    def share(self, lock: threading.RLock, changed: threading.Condition) -> None:
        """Which is a condition of that lock."""
        self._lock, self._changed = lock, changed

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, message: Message) -> bool:
        """False if there is no room: for QoS 0 in number or bytes, for QoS 1 in bytes.

        How many QoS 1 messages come is for the broker to limit, and not all do: Mosquitto 2.0 sends up to Receive
        Maximum more with each acknowledgement, and MQTT 3.1.1 has no such limit. Taking them is better than losing
        them, since the broker holds them in memory as well.
        """
        held_bytes = _held_bytes(message)
        with self._lock:
            is_full = message.qos == 0 and self._qos0_messages >= self._limits.inbox_messages
            if self.is_closed or is_full or self._held_bytes + held_bytes > self._limits.inbox_bytes:
                return False
            self._waiting.append(message)
            self._qos0_messages += message.qos == 0
            self._held_bytes += held_bytes
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> Message | None:
        if not (self._waiting or timeout_s):
            return None
        with self._lock:
            if not self._waiting:
                self._changed.wait_for(lambda: self._waiting or self.is_closed, min(timeout_s, threading.TIMEOUT_MAX))
            if not self._waiting:
                return None
            message = self._waiting.popleft()
            self._qos0_messages -= message.qos == 0
            self._held_bytes -= _held_bytes(message)
            return message

    def close(self) -> None:
        """What is in stays to be taken; nothing more comes in, and nobody waits any longer."""
        with self._lock:
            self.is_closed = True
            self._changed.notify_all()


def _held_bytes(message: Message) -> int:
    return len(message.payload) + len(message.topic) + _MESSAGE_BYTES
