"""The transport over MQTT: one network thread that connects, serves, and connects again.

The thread owns the connection; callers only reach the two queues and a socket pair that wakes it. So nothing of a
caller's ever runs on it, and a caller that is slow delays neither keepalives nor acknowledgements.
"""

import contextlib
import logging
import math
import random
import socket
import threading
import time
from dataclasses import replace

from broker.messages.presence import Presence
from broker.mqtt import session
from broker.mqtt.backoff import Backoff
from broker.mqtt.connection import Accepted, Connection, Lost, Options, Version
from broker.transport import bounded_queues, protocol
from broker.transport import state as transport_state
from broker.transport.address import Address, Credentials
from broker.transport.protocol import ConnectionState
from tflsplit import errors
from tflsplit.coding import feature_codec

_log = logging.getLogger(__name__)

# How long the network thread may sleep when nothing happens: keepalives and time-outs are as late as this at most.
_POLL_S = 0.5

# A broker without MQTT 5 may not even answer its CONNECT: amqtt takes the properties for the length of a string and
# waits for the rest. So the first attempt waits only this long before 3.1.1 is tried.
_VERSION_TIMEOUT_S = 2.0


class MqttTransport:
    """`transport.Transport` over MQTT 5, or 3.1.1 where the broker has no more (`version` says which, once online).

    Messages that the broker had not acknowledged when a connection was lost are sent again as new ones, in order. With
    `session_expiry_s` the broker keeps our subscriptions, and QoS 1 messages for us, that long while we are away.
    `randomness` spreads the reconnections.
    """

    def __init__(
        self,
        address: Address,
        *,
        client_id: str,
        credentials: Credentials | None = None,
        version: Version | None = None,
        keepalive_s: int = 30,
        session_expiry_s: int = 0,
        connect_timeout_s: float = 10.0,
        presence: Presence | None = None,
        limits: protocol.Limits | None = None,
        backoff: Backoff | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._address = address
        self._presence = presence
        self._backoff = backoff or Backoff()
        self._randomness = randomness or random.Random()  # noqa: S311 - it spreads load, it guards nothing
        self._shared = transport_state.Shared(limits or protocol.Limits(), time.monotonic)
        self._max_packet_bytes = self._shared.limits.packet_bytes
        self._version = version
        self._options = self._make_options(client_id, credentials, keepalive_s, session_expiry_s, connect_timeout_s)
        self._state = ConnectionState.NEW
        self._number = 0
        self._was_online = False
        self._gives_up_at_once = True
        self._is_begun = False
        self._is_stopping = False
        self._is_woken = self._is_asleep = False
        self._lost: Lost | None = None
        self._thread: threading.Thread | None = None
        self._waker, self._wakee = socket.socketpair()
        self._waker.setblocking(False)
        self._wakee.setblocking(False)

    def __enter__(self) -> "MqttTransport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def version(self) -> Version | None:
        """The protocol version in use; None before the first connection if it was left open."""
        return self._version

    @property
    def last_failure(self) -> str | None:
        """Why the connection was last lost or not made."""
        return self._lost.reason if self._lost else None

    @property
    def counters(self) -> protocol.Counters:
        return replace(self._shared.counters, dropped=dict(self._shared.counters.dropped))

    @property
    def max_packet_bytes(self) -> int:
        return self._max_packet_bytes

    @property
    def held(self) -> tuple[int, int]:
        """Outgoing messages and bytes that the broker does not have yet."""
        return self._shared.outbox.held

    def begin(self) -> None:
        """`connect` that returns at once, and tries until it is refused. What is subscribed to before the first
        connection is asked for when there is one."""
        self._is_begun = True
        self._start(gives_up_at_once=False)

    def connect(self, *, timeout_s: float = 10.0, keep_trying: bool = False) -> None:
        self._start(gives_up_at_once=not keep_trying)
        with self._shared.changed:
            self._shared.changed.wait_for(
                lambda: self._was_online or self._state is ConnectionState.CLOSED, _bounded(timeout_s)
            )
        if not self._was_online:
            lost = self._lost or Lost(f"no answer within {timeout_s:g} s")
            self.close(timeout_s=0)
            raise errors.BrokerError(f"broker {self._address}: {lost.reason}") from lost.cause

    def _start(self, *, gives_up_at_once: bool) -> None:
        if self._thread is not None:
            raise errors.BrokerError(f"broker {self._address}: connect() was called before")
        self._gives_up_at_once = gives_up_at_once
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{self._options.client_id}", daemon=True)
        self._thread.start()

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
        raise protocol.no_room(f"broker {self._address}", self._state, topic, timeout_s, self._shared.outbox.held)

    def try_publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        then: tuple[str, feature_codec.Buffer] | None = None,
    ) -> bool:
        return self._put(topic, payload, qos, retain=retain, expiry_s=expiry_s, timeout_s=0.0, then=then)

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        wanted = transport_state.Subscription(topic_filter, qos)
        changed = self._shared.changed
        with changed:
            self._shared.subscriptions[topic_filter] = wanted
            self._wake()
            if self._is_begun and not self._was_online:
                return
            changed.wait_for(lambda: wanted.answered or self._state is ConnectionState.CLOSED, _bounded(timeout_s))
            if wanted.answered and wanted.refusal is None:
                return
            self._shared.subscriptions.pop(topic_filter, None)
        reason = wanted.refusal or f"no answer within {timeout_s:g} s, the connection is {self._state.value}"
        if self._state is ConnectionState.CLOSED and self._lost is not None:
            reason = self._lost.reason
        raise errors.BrokerError(f"broker {self._address}: subscription to {topic_filter} failed: {reason}")

    def unsubscribe(self, topic_filter: str, *, timeout_s: float = 10.0) -> None:
        changed = self._shared.changed
        with changed:
            known = self._shared.subscriptions.pop(topic_filter, None)
            if known is None or self._state is not ConnectionState.ONLINE:
                return
            ending = transport_state.Subscription(topic_filter, known.qos, is_ending=True)
            self._shared.subscriptions[topic_filter] = ending
            self._wake()
            changed.wait_for(lambda: ending.answered or self._state is not ConnectionState.ONLINE, _bounded(timeout_s))
            self._shared.subscriptions.pop(topic_filter, None)
            if ending.answered or self._state is not ConnectionState.ONLINE:
                return
        raise errors.BrokerError(
            f"broker {self._address}: no answer to unsubscribing {topic_filter} in {timeout_s:g} s"
        )

    def receive(self, timeout_s: float) -> protocol.Message | None:
        return self._shared.inbox.take(timeout_s)

    def acknowledge(self, message: protocol.Message, *, after_published: bool = False) -> None:
        if message.qos > 0:
            after = self._shared.outbox.last_number if after_published else 0
            self._shared.receipts.append(transport_state.Receipt(*message.receipt, after))
            self._wake()

    def flush(self, timeout_s: float) -> bool:
        return self._shared.outbox.wait_empty(timeout_s)

    def wait_for(self, state: ConnectionState, timeout_s: float) -> bool:
        with self._shared.changed:
            return self._shared.changed.wait_for(lambda: self._state is state, _bounded(timeout_s))

    def close(self, *, timeout_s: float = 5.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        outbox = self._shared.outbox
        outbox.close()
        if self._thread is not None and self._state is not ConnectionState.CLOSED:
            outbox.wait_empty(timeout_s)
            if self._presence is not None and self._state is ConnectionState.ONLINE:
                self._say("offline", "closed")
                outbox.wait_empty(max(0.0, deadline_s - time.monotonic()))
            with self._shared.changed:
                self._is_stopping = True
                self._shared.changed.notify_all()
            self._wake()
            self._thread.join()
        self._set_state(ConnectionState.CLOSED)
        self._shared.inbox.close()
        self._drop_the_rest()
        self._waker.close()
        self._wakee.close()

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
    ) -> bool:
        if qos not in (0, 1):
            raise ValueError(f"QoS {qos}: expected 0 or 1")
        if self._state is ConnectionState.CLOSED:
            raise errors.BrokerError(f"broker {self._address}: the connection is closed")
        protocol.check_packet(
            topic, len(payload), qos=qos, expires=expiry_s is not None, limit_bytes=self._max_packet_bytes
        )
        expires_at_s = None if expiry_s is None else time.monotonic() + expiry_s
        follower = None if then is None else bounded_queues.Outgoing(*then, qos)
        outgoing = bounded_queues.Outgoing(topic, payload, qos, retain, expires_at_s, follower=follower)
        if not self._shared.outbox.put(outgoing, timeout_s):
            return False
        self._wake()
        return True

    def _wake(self) -> None:
        # The thread announces its sleep before it looks for the last time, so one of the two sees the other.
        self._is_woken = True
        if self._is_asleep:
            # A full pair means that the thread is being woken already; a closed one that there is nobody left to wake.
            with contextlib.suppress(OSError):
                self._waker.send(b"\0")

    def _run(self) -> None:
        attempt = 0
        while not self._is_stopping:
            if self._number > 0:
                self._pause(self._backoff.wait_s(attempt, self._randomness))
                attempt += 1
                if self._is_stopping:
                    break
            self._set_state(ConnectionState.CONNECTING)
            began_s = time.monotonic()
            self._lost = lost = self._attempt()
            if self._was_online and time.monotonic() - began_s >= self._backoff.stable_s:
                attempt = 0
            if not self._was_online and (lost.is_for_good or self._gives_up_at_once):
                break
        self._set_state(ConnectionState.CLOSED)

    def _pause(self, wait_s: float) -> None:
        self._set_state(ConnectionState.WAITING)
        with self._shared.changed:
            self._shared.changed.wait_for(lambda: self._is_stopping, wait_s)

    def _attempt(self) -> Lost:
        """One connection from its beginning to its end, or two where the first is refused for its version."""
        lost = self._serve(self._version or Version.MQTT_5)
        if self._version is None and lost.is_version and not self._is_stopping:
            _log.info("broker=%s speaks no MQTT 5 (%s), trying 3.1.1", self._address, lost.reason)
            lost = self._serve(Version.MQTT_311)
        return lost

    def _serve(self, version: Version) -> Lost:
        self._number += 1
        connection = Connection(self._options_for(version), self._number)
        failed = connection.open()
        if failed is not None:
            return failed
        work = session.Session(connection, self._number, self._shared)
        is_probe = self._version is None and version is Version.MQTT_5
        patience_s = _VERSION_TIMEOUT_S if is_probe else self._options.connect_timeout_s
        give_up_s = time.monotonic() + patience_s
        while True:
            self._is_woken = False
            work.pump()
            self._is_asleep = True
            events = connection.step(0.0 if self._is_woken else _POLL_S, self._wakee)
            self._is_asleep = False
            for event in events:
                work.handle(event)
                if isinstance(event, Accepted):
                    self._go_online(version, work)
                elif isinstance(event, Lost):
                    return event
            if self._is_stopping:
                work.acknowledge()  # else a durable session would get once more what was dealt with last
                return self._end(connection, work, Lost("closed"))
            if work.accepted is None and time.monotonic() > give_up_s:
                lost = Lost(f"no answer to CONNECT of MQTT {version} within {patience_s:g} s", is_version=is_probe)
                return self._end(connection, work, lost)

    def _end(self, connection: Connection, work: session.Session, lost: Lost) -> Lost:
        connection.close()
        work.end(lost)
        return lost

    def _go_online(self, version: Version, work: session.Session) -> None:
        if self._was_online:
            self._shared.counters.reconnects += 1
        self._version = version
        self._max_packet_bytes = work.max_packet_bytes
        self._say("online")
        self._was_online = True
        self._set_state(ConnectionState.ONLINE)

    def _say(self, state: str, reason: str | None = None) -> None:
        if self._presence is not None:
            status = self._presence.status(state, self._number, reason)
            self._shared.outbox.put_first(
                bounded_queues.Outgoing(self._presence.topic, status, qos=1, retain=True, is_ours=True)
            )
            self._wake()

    def _set_state(self, state: ConnectionState) -> None:
        with self._shared.changed:
            if state is self._state or self._state is ConnectionState.CLOSED:
                return
            self._state = state
            self._shared.changed.notify_all()
        _log.info(
            "connection state=%s broker=%s mqtt=%s reason=%r",
            state.value,
            self._address,
            self._version,
            self.last_failure if state in (ConnectionState.WAITING, ConnectionState.CLOSED) else None,
        )

    def _drop_the_rest(self) -> None:
        while (outgoing := self._shared.outbox.take(is_window_full=False)) is not None:
            self._shared.drop(outgoing, protocol.Drop.CLOSED)

    def _make_options(
        self, client_id: str, credentials: Credentials | None, keepalive_s: int, session_expiry_s: int, timeout_s: float
    ) -> Options:
        credentials = credentials or Credentials()
        limits = self._shared.limits
        return Options(
            address=self._address,
            client_id=client_id,
            version=Version.MQTT_5,
            keepalive_s=keepalive_s,
            clean_start=session_expiry_s == 0,
            session_expiry_s=session_expiry_s,
            receive_maximum=limits.inbox_messages,
            max_packet_bytes=limits.packet_bytes,
            connect_timeout_s=timeout_s,
            password=credentials.password,
            tls=credentials.ssl_context() if self._address.tls else None,
        )

    def _options_for(self, version: Version) -> Options:
        """Each connection has a last will of its own, which names it."""
        will = None
        if self._presence is not None:
            will = (self._presence.topic, self._presence.status("offline", self._number, "lost"))
        return replace(self._options, version=version, will=will)


def _bounded(timeout_s: float) -> float:
    return min(timeout_s, threading.TIMEOUT_MAX)
