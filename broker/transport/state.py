"""What the connections of one transport work on, one after another, and how each of them ends."""

import collections
import threading
from collections.abc import Callable

from broker.transport import bounded_queues, protocol
from broker.transport.repeats import Repeats
from tflsplit.values.classes import dataclass, replace

# What is set aside is small, or of no use.
_ASIDE_BYTES = 4 << 20


@dataclass(slots=True)
class Subscription:
    """`session` is the number of the session that asked the broker for it, `answered` whether the broker replied.
    `is_ending` turns it into the wish to have it no longer."""

    topic_filter: str
    qos: int
    session: int = 0
    answered: bool = False
    refusal: str | None = None
    is_ending: bool = False


@dataclass(slots=True)
class Receipt:
    """A message to acknowledge, once all that the outbox took up to number `after` is on its way to the broker."""

    session: int
    mid: int
    after: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The end of a connection, or why there never was one."""

    reason: str
    is_for_good: bool = False  # the broker refused us: trying again as before cannot help
    is_version: bool = False  # it may be the protocol version that it did not like
    is_packet: bool = False  # it said that a packet was too large
    is_early: bool = False  # its certificate is not valid yet: a clock is behind
    is_silent: bool = False  # nothing answered at all: no name, no route, no open port
    cause: BaseException | None = None


class Shared:
    """Two queues, what was subscribed to and acknowledged, and the counters; all of it outlives the connections."""

    def __init__(
        self, limits: protocol.Limits, clock: Callable[[], float], lock: "threading.RLock | None" = None
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.packet_bytes = limits.packet_bytes  # less once a broker refused a smaller one
        self.outbox = bounded_queues.Outbox(limits)
        self.inbox = bounded_queues.Inbox(limits)
        self.aside = bounded_queues.Inbox(replace(limits, inbox_bytes=min(limits.inbox_bytes, _ASIDE_BYTES)))
        self.aside_of: str | None = None  # the ending of the topics whose messages wait there
        self.counters = protocol.Counters()
        self.has_passed = False  # whether this connection carried a message of somebody, either way
        self.repeats: Repeats | None = None  # where what the broker had must outlive the broker
        self.receipts: collections.deque[Receipt] = collections.deque()
        self.subscriptions: dict[str, Subscription] = {}
        self.wishes = 0  # how often these were changed
        self.changed = threading.Condition(lock)  # guards the subscriptions, and the state of the transport

    def take_in(self, message: protocol.Message) -> bool:
        """False, and counted, if there was no room for what came."""
        is_aside = self.aside_of is not None and message.topic.endswith(self.aside_of)
        if (self.aside if is_aside else self.inbox).offer(message):
            self.counters.received += 1
            self.has_passed = True
            return True
        self.counters.dropped[protocol.Drop.INBOX_FULL] += 1
        return False

    def drop(self, outgoing: bounded_queues.Outgoing, reason: protocol.Drop) -> None:
        self.counters.dropped[reason] += 1 if outgoing.follower is None else 2
        self.outbox.release(outgoing, is_dropped=True)
