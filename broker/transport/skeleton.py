"""What every transport does in the same way, whatever is behind it: queues, state, counters, and the words of errors.

How bytes travel, and when, is for the transport: it adds `connect`, `subscribe`, `unsubscribe`, `close`.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from broker.messages.presence import Presence
from broker.transport import bounded_queues, protocol
from broker.transport.protocol import ConnectionState, Drop
from broker.transport.state import Shared
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.values.classes import replace

_Self = TypeVar("_Self", bound="Skeleton")


class Skeleton:
    """`peer` is how errors name the other side."""

    def __init__(self, peer: str, shared: Shared) -> None:
        self._peer = peer
        self._shared = shared
        self._state = ConnectionState.NEW
        self._watching: threading.Condition | None = None

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def counters(self) -> protocol.Counters:
        return replace(self._shared.counters, dropped=dict(self._shared.counters.dropped))

    @property
    def reconnects(self) -> int:
        return self._shared.counters.reconnects

    @property
    def refused(self) -> int:
        return self._shared.counters.dropped[Drop.REFUSED]

    @property
    def last_failure(self) -> str | None:
        return None

    @property
    def absent(self) -> str | None:
        return None

    @property
    def is_away(self) -> Mapping[str, bool]:
        return {}

    def reaches(self, device: str) -> bool:
        return True

    @property
    def inboxes(self) -> tuple[bounded_queues.Inbox, bounded_queues.Inbox]:
        """What came in, and what of it is set aside: for who reads several transports at a time."""
        return self._shared.inbox, self._shared.aside

    @property
    def held(self) -> tuple[int, int]:
        """Outgoing messages and bytes that the broker does not have yet."""
        return self._shared.outbox.held

    @property
    def max_packet_bytes(self) -> int:
        return self._shared.limits.packet_bytes

    def publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        timeout_s: float = math.inf,
    ) -> None:
        if self._put(topic, payload, qos, retain=retain, expiry_s=expiry_s, timeout_s=timeout_s):
            return
        messages, held_bytes = self.held
        raise errors.BrokerError(
            f"{self._peer} is {self._state.value}: no room for a message on {topic} within {timeout_s:g} s, "
            f"{messages} messages ({held_bytes} bytes) are waiting"
        )

    def try_publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        then: tuple[str, feature_codec.Buffer] | None = None,
        done: Iterable[protocol.Message] = (),
    ) -> bool:
        return self._put(topic, payload, qos, retain=retain, expiry_s=expiry_s, timeout_s=0.0, then=then, done=done)

    def receive(self, timeout_s: float) -> protocol.Message | None:
        return self._shared.inbox.take(timeout_s)

    def set_aside(self, ending: str) -> None:
        self._shared.aside_of = ending

    def receive_aside(self, timeout_s: float) -> protocol.Message | None:
        return self._shared.aside.take(timeout_s)

    def say_online(self) -> Presence | None:
        return None

    def acknowledge(self, message: protocol.Message, *, after_published: bool = False) -> None:
        self._note(message, after_published=after_published)
        self._wake()

    def flush(self, timeout_s: float) -> bool:
        return self._shared.outbox.wait_empty(timeout_s)

    def wait_for(self, state: ConnectionState, timeout_s: float) -> bool:
        return self._wait(lambda: self._state is state, timeout_s)

    def watch(self, changed: threading.Condition) -> None:
        """Notifies it too when the state changes: for who waits for any of several transports."""
        self._watching = changed

    def close(self, *, timeout_s: float = 5.0) -> None:
        raise NotImplementedError

    def _note(self, message: protocol.Message, *, after_published: bool) -> None:
        """A message that is to be acknowledged."""
        raise NotImplementedError

    def _check(self, topic: str, *, retain: bool) -> None:
        """BrokerError for what this transport cannot carry."""

    def _wake(self) -> None:
        """There is something new to send."""
        raise NotImplementedError

    def _put(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        qos: int,
        *,
        retain: bool,
        expiry_s: float | None,
        timeout_s: float,
        then: tuple[str, feature_codec.Buffer] | None = None,
        done: Iterable[protocol.Message] = (),
    ) -> bool:
        if qos not in (0, 1):
            raise errors.SettingsError(f"QoS {qos}: expected 0 or 1")
        self._check(topic, retain=retain)
        if self._state is ConnectionState.CLOSED:
            raise errors.BrokerError(f"{self._peer}: the connection is closed")
        expires_at_s = None if expiry_s is None else self._shared.clock() + expiry_s
        follower = None if then is None else bounded_queues.Outgoing(*then, qos)
        outgoing = bounded_queues.Outgoing(topic, payload, qos, retain, expires_at_s, follower=follower)
        protocol.check_packet(topic, outgoing.packet_bytes, limit_bytes=self.max_packet_bytes)
        if not self._shared.outbox.put(outgoing, timeout_s):
            return False
        for message in done:
            self._note(message, after_published=True)
        self._wake()
        return True

    def _wait(self, claim: Callable[[], bool], timeout_s: float) -> bool:
        with self._shared.changed:
            return self._shared.changed.wait_for(claim, min(timeout_s, threading.TIMEOUT_MAX))

    def _set_state(self, state: ConnectionState) -> bool:
        """False if it was that already, or is closed, which is for good."""
        with self._shared.changed:
            if state is self._state or self._state is ConnectionState.CLOSED:
                return False
            self._state = state
            self._shared.changed.notify_all()
        if self._watching is not None:
            with self._watching:
                self._watching.notify_all()
        return True

    def _finish(self) -> None:
        """For good: nothing more comes in, and what still waits to go out is given up and counted."""
        self._set_state(ConnectionState.CLOSED)
        self._shared.inbox.close()
        self._shared.aside.close()
        while (outgoing := self._shared.outbox.take(is_window_full=False)) is not None:
            self._shared.drop(outgoing, Drop.CLOSED)
