"""A transport over a network: one thread connects, serves, and connects again; callers only reach queues and wishes.

So nothing of a caller's ever runs on the network thread, and a caller that is slow delays neither keepalives nor
acknowledgements.
"""

import contextlib
import logging
import math
import random
import socket
import threading
import time

from broker.messages.presence import Presence
from broker.transport import bounded_queues, network, protocol
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState
from broker.transport.skeleton import Skeleton
from broker.transport.state import Lost, Receipt, Shared, Subscription
from tflsplit import errors

_log = logging.getLogger(__name__)

# So many connections in a row that end soon are no accident.
_SHORT_LIVED = 3


class Reconnecting(Skeleton):
    """`randomness` spreads the reconnections of many. A protocol adds `_attempt`, `_wake` and `_stop`, and where it
    keeps what is retained, whose `_presence` each connection says, by its `_number`."""

    _presence: Presence | None = None
    _number = 0

    def __init__(
        self,
        peer: str,
        thread_name: str,
        limits: protocol.Limits | None,
        backoff: Backoff | None,
        randomness: random.Random | None = None,
    ) -> None:
        super().__init__(peer, Shared(limits or protocol.Limits(), time.monotonic))
        self._clock = self._shared.clock
        self._backoff = backoff or Backoff()
        self._randomness = randomness or random.Random()  # noqa: S311 - it spreads load, it guards nothing
        self._was_online = False
        self._onlines = 0
        self._online_since_s = 0.0
        self._gives_up_at_once = True
        self._is_begun = self._waits_for_clock = self._insists = False
        self._is_stopping = False
        self._lost: Lost | None = None
        self._said: set[tuple[ConnectionState, str | None]] = set()
        self._waker, self._wakee = socket.socketpair()
        self._waker.setblocking(False)
        self._wakee.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)

    @property
    def last_failure(self) -> str | None:
        return self._lost.reason if self._lost else None

    @property
    def is_refused(self) -> bool:
        """Whether the last attempt ended so that trying again as before cannot help."""
        return self._state is not ConnectionState.ONLINE and self._lost is not None and self._lost.is_for_good

    @property
    def is_early(self) -> bool:
        """Whether a certificate was not valid yet: our clock is behind."""
        return self._lost is not None and self._lost.is_early

    def begin(self, *, insists: bool = False) -> None:
        """`connect` that returns at once, and tries until it is refused, or with `insists` until `close`. What is
        subscribed to before the first connection is asked for when there is one."""
        self._is_begun, self._insists = True, insists
        self._start(gives_up_at_once=False)

    def connect(self, *, timeout_s: float = 10.0, keep_trying: bool = False, waits_for_clock: bool = False) -> None:
        """With `waits_for_clock` a certificate that is not valid yet is waited for, however long."""
        self._waits_for_clock = waits_for_clock
        self._start(gives_up_at_once=not keep_trying)
        self._wait(self._has_come_to_something, timeout_s)
        self._wait(lambda: self._has_come_to_something() or not (waits_for_clock and self.is_early), math.inf)
        if not self._was_online:
            lost = self._lost or Lost(f"no answer within {timeout_s:g} s")
            self.close(timeout_s=0)
            raise errors.BrokerError(f"{self._peer}: {lost.reason}") from lost.cause

    def say_online(self) -> Presence | None:
        if self._state is ConnectionState.ONLINE:
            self._say("online")
        return self._presence

    def _say(self, state: str, reason: str | None = None) -> None:
        if self._presence is not None:
            status = self._presence.status(state, self._number, reason)
            self._shared.outbox.put_first(
                bounded_queues.Outgoing(self._presence.topic, status, qos=1, retain=True, is_ours=True)
            )
            self._wake()

    def _has_come_to_something(self) -> bool:
        return self._was_online or self._state is ConnectionState.CLOSED

    def wish(self, topic_filter: str, *, qos: int = 1) -> None:
        """`subscribe` that does not wait for the broker: it is asked at once, or when there is a connection."""
        with self._shared.changed:
            self._shared.subscriptions[topic_filter] = Subscription(topic_filter, qos)
        self._wake()

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        wanted = Subscription(topic_filter, qos)
        with self._shared.changed:
            self._shared.subscriptions[topic_filter] = wanted
            self._shared.wishes += 1
            self._wake()
            if self._is_begun and not self._was_online:
                return
            self._wait(lambda: wanted.answered or self._state is ConnectionState.CLOSED, timeout_s)
            if wanted.answered and wanted.refusal is None:
                return
            self._shared.subscriptions.pop(topic_filter, None)
        reason = wanted.refusal or f"no answer within {timeout_s:g} s, the connection is {self._state.value}"
        if self._state is ConnectionState.CLOSED and self._lost is not None:
            reason = self._lost.reason
        raise errors.BrokerError(f"{self._peer}: subscription to {topic_filter} failed: {reason}")

    def unsubscribe(self, topic_filter: str, *, timeout_s: float = 10.0) -> None:
        with self._shared.changed:
            known = self._shared.subscriptions.pop(topic_filter, None)
            if known is None or self._state is not ConnectionState.ONLINE:
                return
            ending = Subscription(topic_filter, known.qos, is_ending=True)
            self._shared.subscriptions[topic_filter] = ending
            self._shared.wishes += 1
            self._wake()
            self._wait(lambda: ending.answered or self._state is not ConnectionState.ONLINE, timeout_s)
            self._shared.subscriptions.pop(topic_filter, None)
            if ending.answered or self._state is not ConnectionState.ONLINE:
                return
        raise errors.BrokerError(f"{self._peer}: no answer to unsubscribing {topic_filter} in {timeout_s:g} s")

    def _note(self, message: protocol.Message, *, after_published: bool) -> None:
        if message.qos > 0:
            after = self._shared.outbox.last_number if after_published else 0
            self._shared.receipts.append(Receipt(*message.receipt, after))

    def close(self, *, timeout_s: float = 5.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        self._shared.outbox.close()
        if self._thread.ident is not None and self._state is not ConnectionState.CLOSED:
            self._shared.outbox.wait_empty(timeout_s)
            self._say_goodbye(max(0.0, deadline_s - time.monotonic()))
            with self._shared.changed:
                self._is_stopping = True
                self._shared.changed.notify_all()
                self._stop()
            self._rouse()
            self._thread.join()
        self._finish()
        self._waker.close()
        self._wakee.close()

    def _rouse(self) -> None:
        """Ends the sleep of whoever waits for `_wakee`."""
        # A full pair means that the thread is being woken already; a closed one that there is nobody left to wake.
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def _attempt(self) -> Lost:
        """One connection, from its beginning to its end."""
        raise NotImplementedError

    def _stop(self) -> None:
        """`_attempt` is to return; `_is_stopping` says so too."""
        raise NotImplementedError

    def _say_goodbye(self, timeout_s: float) -> None:
        """Before `close` ends the connection."""

    def _known(self) -> dict[str, object]:
        """What the log shall tell about this connection."""
        raise NotImplementedError

    def _start(self, *, gives_up_at_once: bool) -> None:
        if self._thread.ident is not None:
            raise errors.BrokerError(f"{self._peer}: connect() was called before")
        self._gives_up_at_once = gives_up_at_once
        self._thread.start()

    def _run(self) -> None:
        try:
            with contextlib.closing(network.Changes()) as changes:
                self._connect_again_and_again(changes)
        finally:
            self._set_state(ConnectionState.CLOSED)

    def _connect_again_and_again(self, changes: network.Changes) -> None:
        answered = silent = short_lived = 0  # attempts in a row of each kind
        while not self._is_stopping:
            self._set_state(ConnectionState.CONNECTING)
            changes.forget()
            onlines, self._shared.has_passed = self._onlines, False
            self._lost = lost = self._attempt()
            was_online = self._onlines > onlines
            lived_s = self._clock() - self._online_since_s if was_online else 0.0
            if was_online and lived_s >= self._backoff.stable_s:
                answered = short_lived = 0
            elif was_online:
                short_lived += 1
                self._warn(short_lived, lost)
            gives_up = self._gives_up_at_once and not (self._waits_for_clock and lost.is_early)
            if not self._was_online and not self._insists and (lost.is_for_good or gives_up):
                return
            if self._is_stopping:
                return
            self._set_state(ConnectionState.WAITING)
            if lost.is_silent:
                # Changes come in bursts, and a new address is of no use before its route.
                self._pause(self._backoff.wait_s(0, self._randomness))
                self._pause(self._backoff.wait_s(silent, self._randomness, most_s=self._backoff.most_silent_s), changes)
                silent += 1
            else:
                was_alive = lived_s >= self._backoff.alive_s or self._shared.has_passed
                most_s = self._backoff.most_alive_s if was_alive else None
                self._pause(self._backoff.wait_s(answered, self._randomness, most_s=most_s))
                answered, silent = answered + 1, 0

    def _pause(self, wait_s: float, changes: network.Changes | None = None) -> None:
        """Until `close`, or until the network changes."""
        if changes is None:
            self._wait(lambda: self._is_stopping, wait_s)
        elif not self._is_stopping:
            changes.wait(wait_s, self._wakee)
            with contextlib.suppress(BlockingIOError):  # what woke us, or was left by the connection before
                self._wakee.recv(4096)

    def _warn(self, short_lived: int, lost: Lost) -> None:
        if short_lived == _SHORT_LIVED and not self._is_stopping:
            _log.warning(
                "%s hangs up soon after each connection times=%d reason=%r; has this client a right to the topics that "
                "it uses, and no other client its id?",
                self._peer,
                short_lived,
                lost.reason,
            )

    def _go_online(self) -> None:
        self._onlines += 1
        self._online_since_s = self._clock()
        self._shared.counters.reconnects += self._was_online
        self._was_online = True
        self._set_state(ConnectionState.ONLINE)

    def _set_state(self, state: ConnectionState) -> bool:
        is_new = super()._set_state(state)
        if is_new and self._is_news(state):
            facts = {"state": state.value, **self._known()}
            if state in (ConnectionState.WAITING, ConnectionState.CLOSED):
                facts["reason"] = self.last_failure
            known = {name: fact for name, fact in facts.items() if fact is not None}
            pairs = (f"{name}=%r" if name == "reason" else f"{name}=%s" for name in known)
            level = logging.WARNING if state is ConnectionState.WAITING else logging.INFO
            _log.log(level, f"connection {' '.join(pairs)}", *known.values())
        return is_new

    def _is_news(self, state: ConnectionState) -> bool:
        """While nothing answers there is an attempt every few seconds; the log tells the first and new reasons."""
        if state in (ConnectionState.ONLINE, ConnectionState.CLOSED):
            self._said.clear()
            return True
        said = (state, self.last_failure if state is ConnectionState.WAITING else None)
        is_news = said not in self._said
        self._said.add(said)
        return is_news
