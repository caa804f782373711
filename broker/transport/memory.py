"""A message broker inside one process, for tests, demos and trying things.

It keeps the contract of `broker.mqtt.transport` without a network. It is deterministic: a message is in the
subscribers' inboxes when `publish` returns. Connections drop and come back only when told to (`cut`, `restore`,
`stop`, `start`), and messages are lost or doubled only by `copies`.
"""

import collections
import threading
import time
from collections.abc import Callable

from broker.messages.presence import Presence
from broker.transport import protocol
from broker.transport.protocol import ConnectionState, Drop
from broker.transport.skeleton import Skeleton
from broker.transport.state import Shared
from tflsplit import errors
from tflsplit.values.classes import dataclass, field, replace

# As in a stock Mosquitto: beyond this a broker drops what a slow or absent subscriber has not taken.
_QUEUED_MESSAGES = 1000


def matches(topic_filter: str, topic: str) -> bool:
    """MQTT's wildcards: `+` for one level, `#` for the rest, none included; neither for topics that begin with `$`."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(found) or level not in ("+", found[place]):
            return False
    return len(wanted) == len(found)


@dataclass(slots=True)
class _Session:
    """What the broker keeps for a client: what to send it, and what was sent and not acknowledged."""

    filters: dict[str, int] = field(default_factory=dict)
    queued: collections.deque[protocol.Message] = field(default_factory=collections.deque)
    unacknowledged: dict[int, protocol.Message] = field(default_factory=dict)
    last_mid: int = 0


class MemoryBroker:
    """`copies(topic, payload)` says how often each publication is delivered: 0 loses it, 2 doubles it. `dropped` counts
    messages for which a subscriber's queue had no room."""

    def __init__(
        self,
        *,
        max_packet_bytes: int | None = None,
        copies: Callable[[str, bytes], int] = lambda topic, payload: 1,
    ) -> None:
        self.max_packet_bytes = max_packet_bytes
        self.copies = copies
        self.dropped = 0
        self.lock = threading.RLock()  # guards the broker and all its transports
        self._is_up = True
        self._unreachable: set[str] = set()
        self._sessions: dict[str, _Session] = {}
        self._members: dict[str, MemoryTransport] = {}
        self._retained: dict[str, protocol.Message] = {}

    def cut(self, client_id: str) -> None:
        """The client's connection breaks and stays broken until `restore`; its last will is published."""
        with self.lock:
            self._unreachable.add(client_id)
            if client_id in self._members:
                self._lose(self._members[client_id])

    def restore(self, client_id: str) -> None:
        with self.lock:
            self._unreachable.discard(client_id)
            self._bring_back()

    def stop(self) -> None:
        """The broker is killed: sessions and retained messages are gone, and nobody sends last wills."""
        with self.lock:
            self._is_up = False
            self._sessions.clear()
            self._retained.clear()
            for member in list(self._members.values()):
                self._lose(member)

    def start(self) -> None:
        with self.lock:
            self._is_up = True
            self._bring_back()

    def join(self, member: "MemoryTransport") -> None:
        """From now on the member is connected whenever it can be."""
        with self.lock:
            if member.client_id in self._members:
                raise errors.BrokerError(f"memory broker: client id {member.client_id!r} is in use")
            self._members[member.client_id] = member
            self._bring_back()

    def leave(self, member: "MemoryTransport") -> None:
        with self.lock:
            if self._members.get(member.client_id) is member:
                del self._members[member.client_id]
                if not member.is_durable:
                    self._sessions.pop(member.client_id, None)

    def subscribe(self, client_id: str, topic_filter: str, qos: int) -> None:
        with self.lock:
            session = self._sessions[client_id]
            is_new = topic_filter not in session.filters
            session.filters[topic_filter] = qos
            for topic, kept in self._retained.items():
                if is_new and matches(topic_filter, topic):
                    session.queued.append(replace(kept, qos=min(qos, kept.qos)))
            self._deliver(client_id)

    def unsubscribe(self, client_id: str, topic_filter: str) -> None:
        with self.lock:
            if client_id in self._sessions:
                self._sessions[client_id].filters.pop(topic_filter, None)

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool) -> None:
        """To everyone with a filter that fits, at the lower of both QoS."""
        with self.lock:
            message = protocol.Message(topic, payload, qos)
            if retain:
                self._retained.pop(topic, None)
                if payload:
                    self._retained[topic] = replace(message, retained=True)
            for _ in range(self.copies(topic, payload)):
                for client_id in list(self._sessions):
                    self._queue(client_id, message)

    def acknowledge(self, client_id: str, mid: int) -> None:
        with self.lock:
            if client_id in self._sessions:
                self._sessions[client_id].unacknowledged.pop(mid, None)
                self._deliver(client_id)

    def _bring_back(self) -> None:
        for client_id, member in list(self._members.items()):
            if self._is_up and client_id not in self._unreachable and member.state is not ConnectionState.ONLINE:
                session = self._sessions.get(client_id) if member.is_durable else None
                session = self._sessions[client_id] = session or _Session()
                again = [replace(message, duplicate=True) for message in session.unacknowledged.values()]
                session.unacknowledged.clear()
                session.queued.extendleft(reversed(again))
                member.come_online()
                self._deliver(client_id)

    def _lose(self, member: "MemoryTransport") -> None:
        if member.state is not ConnectionState.ONLINE:
            return
        if not member.is_durable:
            self._sessions.pop(member.client_id, None)
        member.go_offline()
        if member.presence is not None and self._is_up:
            will = member.presence.status("offline", member.connection, "lost")
            self.publish(member.presence.topic, will, 1, retain=True)

    def _queue(self, client_id: str, message: protocol.Message) -> None:
        session = self._sessions[client_id]
        granted = [qos for topic_filter, qos in session.filters.items() if matches(topic_filter, message.topic)]
        qos = min(message.qos, max(granted, default=0))
        is_away = client_id not in self._members or self._members[client_id].state is not ConnectionState.ONLINE
        if not granted or (is_away and qos == 0):
            return
        if len(session.queued) >= _QUEUED_MESSAGES:
            self.dropped += 1
            return
        session.queued.append(replace(message, qos=qos))
        self._deliver(client_id)

    def _deliver(self, client_id: str) -> None:
        """As much of the client's queue as its flow control allows."""
        session, member = self._sessions[client_id], self._members.get(client_id)
        if member is None or member.state is not ConnectionState.ONLINE:
            return
        while session.queued:
            if session.queued[0].qos > 0 and len(session.unacknowledged) >= member.limits.inbox_messages:
                return
            message = session.queued.popleft()
            session.last_mid += 1
            if message.qos > 0:
                session.unacknowledged[session.last_mid] = message
            if not member.take_in(replace(message, receipt=(member.connection, session.last_mid))):
                session.unacknowledged.pop(session.last_mid, None)


class MemoryTransport(Skeleton):
    """`transport.Transport` to a `MemoryBroker`. With a `session_expiry_s` the session outlasts the connection."""

    def __init__(
        self,
        broker: MemoryBroker,
        *,
        client_id: str,
        session_expiry_s: int = 0,
        presence: Presence | None = None,
        limits: protocol.Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("memory broker", Shared(limits or protocol.Limits(), clock, broker.lock))
        self.client_id = client_id
        self.connection = 0
        self.is_durable = session_expiry_s > 0
        self.presence = presence
        self.limits = self._shared.limits
        self._broker = broker
        self._filters: dict[str, int] = {}

    @property
    def max_packet_bytes(self) -> int:
        return min(super().max_packet_bytes, self._broker.max_packet_bytes or super().max_packet_bytes)

    def connect(self, *, timeout_s: float = 10.0, keep_trying: bool = False) -> None:
        self.begin()
        if not self.wait_for(ConnectionState.ONLINE, timeout_s if keep_trying else 0.0):
            self.close(timeout_s=0.0)
            raise errors.BrokerError("memory broker: it cannot be reached")

    is_refused = is_early = False

    def begin(self, *, insists: bool = True) -> None:
        """`connect` that takes the broker for one that comes later, where it cannot be reached."""
        if self._state is not ConnectionState.NEW:
            raise errors.BrokerError("memory broker: connect() was called before")
        self._broker.join(self)
        if self._state is ConnectionState.NEW:
            self._set_state(ConnectionState.WAITING)

    def wish(self, topic_filter: str, *, qos: int = 1) -> None:
        """`subscribe` that does not wait for the broker."""
        with self._shared.changed:
            self._filters[topic_filter] = qos
            if self._state is ConnectionState.ONLINE:
                self._broker.subscribe(self.client_id, topic_filter, qos)

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        with self._shared.changed:
            if not self.wait_for(ConnectionState.ONLINE, timeout_s):
                raise errors.BrokerError(
                    f"memory broker: subscription to {topic_filter} failed: the connection is {self._state.value}"
                )
            self.wish(topic_filter, qos=qos)

    def unsubscribe(self, topic_filter: str, *, timeout_s: float = 10.0) -> None:
        with self._shared.changed:
            self._filters.pop(topic_filter, None)
            self._broker.unsubscribe(self.client_id, topic_filter)

    def _note(self, message: protocol.Message, *, after_published: bool) -> None:
        self._wake()
        connection, mid = message.receipt
        if message.qos > 0 and connection == self.connection:
            self._broker.acknowledge(self.client_id, mid)

    def close(self, *, timeout_s: float = 5.0) -> None:
        if self._state is ConnectionState.CLOSED:
            return
        self._shared.outbox.close()
        self._shared.outbox.wait_empty(timeout_s)
        with self._shared.changed:
            if self._state is ConnectionState.ONLINE and self.presence is not None:
                self._say("offline", "closed")
            self._broker.leave(self)
            self._finish()

    def come_online(self) -> None:
        """For the broker, which holds its lock."""
        self.connection += 1
        self._shared.counters.reconnects += self.connection > 1
        self._set_state(ConnectionState.ONLINE)
        for topic_filter, qos in self._filters.items():
            self._broker.subscribe(self.client_id, topic_filter, qos)
        if self.presence is not None:
            self._say("online")
        self._wake()

    def go_offline(self) -> None:
        """For the broker, which holds its lock."""
        self._set_state(ConnectionState.WAITING)

    def take_in(self, message: protocol.Message) -> bool:
        """For the broker, which holds its lock: False if the inbox had no room."""
        return self._shared.take_in(replace(message, arrived_at_s=time.monotonic()))

    def _wake(self) -> None:
        with self._shared.changed:
            while self._state is ConnectionState.ONLINE:
                outgoing = self._shared.outbox.take(is_window_full=False)
                if outgoing is None:
                    return
                if outgoing.expires_at_s is not None and self._shared.clock() >= outgoing.expires_at_s:
                    self._shared.drop(outgoing, Drop.EXPIRED)
                    continue
                self._shared.counters.published += 1
                self._shared.counters.acknowledged += outgoing.qos > 0
                self._broker.publish(outgoing.topic, bytes(outgoing.payload), outgoing.qos, retain=outgoing.retain)
                self._shared.outbox.release(outgoing)

    def say_online(self) -> Presence | None:
        with self._shared.changed:
            if self._state is ConnectionState.ONLINE:
                self._say("online")
        return self.presence

    def _say(self, state: str, reason: str | None = None) -> None:
        if self.presence is not None:
            status = self.presence.status(state, self.connection, reason)
            self._broker.publish(self.presence.topic, status, 1, retain=True)
