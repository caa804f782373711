"""The transport over AMQP to a RabbitMQ: frames from a queue that clouds share, results to devices that speak MQTT.

A cloud gets no more frames than its inbox holds (`Limits.inbox_messages`, AMQP's prefetch) before it acknowledges some,
so a slow one gets less; what a cloud held when it died, RabbitMQ gives to another. Nothing can be retained over AMQP,
and there are no last wills: who is to be seen as online needs an MQTT connection beside this one.
"""

import logging
import math
import random
import threading
import time
from dataclasses import replace

from broker.amqp import queue_names
from broker.amqp import session as amqp_session
from broker.amqp.address import AmqpAddress
from broker.mqtt.backoff import Backoff
from broker.transport import bounded_queues, protocol
from broker.transport import state as transport_state
from broker.transport.address import Credentials
from broker.transport.protocol import ConnectionState
from tflsplit import errors
from tflsplit.coding import feature_codec

_log = logging.getLogger(__name__)

# What RabbitMQ 4 takes in one message; 3 takes 128 MB. A larger one makes it close the channel.
_MESSAGE_BYTES = 16 << 20


class AmqpTransport:
    """`transport.Transport` to a RabbitMQ. `subscribe` takes the frames of a deployment only, and every message comes
    at QoS 1 and must be acknowledged. `name` is shown among RabbitMQ's connections."""

    def __init__(
        self,
        where: AmqpAddress,
        *,
        name: str,
        credentials: Credentials | None = None,
        heartbeat_s: int = 30,
        connect_timeout_s: float = 10.0,
        limits: protocol.Limits | None = None,
        backoff: Backoff | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        self._where = where
        self._backoff = backoff or Backoff()
        self._randomness = randomness or random.Random()  # noqa: S311 - it spreads load, it guards nothing
        self._shared = transport_state.Shared(limits or protocol.Limits(), time.monotonic)
        self._options = _options(where, name, credentials or Credentials(), heartbeat_s, connect_timeout_s)
        self._state = ConnectionState.NEW
        self._session: amqp_session.Session | None = None
        self._was_online = False
        self._gives_up_at_once = True
        self._is_stopping = False
        self._lost: amqp_session.Lost | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "AmqpTransport":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> ConnectionState:
        return self._state

    @property
    def last_failure(self) -> str | None:
        """Why the connection was last lost or not made."""
        return self._lost.reason if self._lost else None

    @property
    def counters(self) -> protocol.Counters:
        return replace(self._shared.counters, dropped=dict(self._shared.counters.dropped))

    @property
    def max_packet_bytes(self) -> int:
        return min(self._shared.limits.packet_bytes, _MESSAGE_BYTES)

    @property
    def held(self) -> tuple[int, int]:
        """Outgoing messages and bytes that RabbitMQ has not confirmed yet."""
        return self._shared.outbox.held

    def connect(self, *, timeout_s: float = 10.0, keep_trying: bool = False) -> None:
        if self._thread is not None:
            raise errors.BrokerError(f"RabbitMQ {self._where}: connect() was called before")
        self._gives_up_at_once = not keep_trying
        self._thread = threading.Thread(target=self._run, name=f"amqp-{self._options.name}", daemon=True)
        self._thread.start()
        with self._shared.changed:
            self._shared.changed.wait_for(
                lambda: self._was_online or self._state is ConnectionState.CLOSED, _bounded(timeout_s)
            )
        if not self._was_online:
            lost = self._lost or amqp_session.Lost(f"no answer within {timeout_s:g} s")
            self.close(timeout_s=0)
            raise errors.BrokerError(f"RabbitMQ {self._where}: {lost.reason}") from lost.cause

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
        """Also BrokerError for what is to be retained."""
        if not self._put(topic, payload, qos, retain=retain, expiry_s=expiry_s, timeout_s=timeout_s):
            raise protocol.no_room(f"RabbitMQ {self._where}", self._state, topic, timeout_s, self.held)

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
        queue_names.frames(topic_filter)  # refuses what is none
        refusal = self._ask(transport_state.Subscription(topic_filter, qos), timeout_s)
        if refusal is not None:
            self._shared.subscriptions.pop(topic_filter, None)
            raise errors.BrokerError(f"RabbitMQ {self._where}: subscription to {topic_filter} failed: {refusal}")

    def unsubscribe(self, topic_filter: str, *, timeout_s: float = 10.0) -> None:
        """What waits in the inbox and is not acknowledged goes to other clouds once this transport is closed."""
        if self._shared.subscriptions.pop(topic_filter, None) is None or self._state is not ConnectionState.ONLINE:
            return
        refusal = self._ask(transport_state.Subscription(topic_filter, 1, is_ending=True), timeout_s)
        self._shared.subscriptions.pop(topic_filter, None)
        if refusal is not None and self._state is ConnectionState.ONLINE:
            raise errors.BrokerError(f"RabbitMQ {self._where}: unsubscribing {topic_filter} failed: {refusal}")

    def receive(self, timeout_s: float) -> protocol.Message | None:
        return self._shared.inbox.take(timeout_s)

    def acknowledge(self, message: protocol.Message, *, after_published: bool = False) -> None:
        after = self._shared.outbox.last_number if after_published else 0
        self._shared.receipts.append(transport_state.Receipt(*message.receipt, after))
        self._wake()

    def flush(self, timeout_s: float) -> bool:
        return self._shared.outbox.wait_empty(timeout_s)

    def wait_for(self, state: ConnectionState, timeout_s: float) -> bool:
        with self._shared.changed:
            return self._shared.changed.wait_for(lambda: self._state is state, _bounded(timeout_s))

    def close(self, *, timeout_s: float = 5.0) -> None:
        self._shared.outbox.close()
        if self._thread is not None and self._state is not ConnectionState.CLOSED:
            self._shared.outbox.wait_empty(timeout_s)
            with self._shared.changed:
                self._is_stopping = True
                self._shared.changed.notify_all()
                if self._session is not None:
                    self._session.stop()
            self._thread.join()
        self._set_state(ConnectionState.CLOSED)
        self._shared.inbox.close()
        while (outgoing := self._shared.outbox.take(is_window_full=False)) is not None:
            self._shared.drop(outgoing, protocol.Drop.CLOSED)

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
        if retain:
            raise errors.BrokerError(f"message on {topic}: nothing can be retained over AMQP; publish it over MQTT")
        if self._state is ConnectionState.CLOSED:
            raise errors.BrokerError(f"RabbitMQ {self._where}: the connection is closed")
        queue_names.routing_key(topic)  # refuses what would arrive on another topic
        protocol.check_packet(
            topic, len(payload), qos=qos, expires=expiry_s is not None, limit_bytes=self.max_packet_bytes
        )
        expires_at_s = None if expiry_s is None else time.monotonic() + expiry_s
        follower = None if then is None else bounded_queues.Outgoing(*then, qos)
        outgoing = bounded_queues.Outgoing(topic, payload, qos, False, expires_at_s, follower=follower)
        if not self._shared.outbox.put(outgoing, timeout_s):
            return False
        self._wake()
        return True

    def _ask(self, wanted: transport_state.Subscription, timeout_s: float) -> str | None:
        """What RabbitMQ says against it, or that it said nothing; None if it agreed."""
        with self._shared.changed:
            self._shared.subscriptions[wanted.topic_filter] = wanted
            self._wake()
            self._shared.changed.wait_for(
                lambda: wanted.answered or self._state is ConnectionState.CLOSED, _bounded(timeout_s)
            )
            if wanted.answered:
                return wanted.refusal
        return f"no answer within {timeout_s:g} s, the connection is {self._state.value}"

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            session.wake()

    def _run(self) -> None:
        attempt = number = 0
        try:
            while not self._is_stopping:
                if number > 0:
                    self._pause(self._backoff.wait_s(attempt, self._randomness))
                    attempt += 1
                    if self._is_stopping:
                        break
                number += 1
                began_s = time.monotonic()
                self._lost = lost = self._serve(number)
                if self._was_online and time.monotonic() - began_s >= self._backoff.stable_s:
                    attempt = 0
                if not self._was_online and (lost.is_for_good or self._gives_up_at_once):
                    break
        finally:
            self._set_state(ConnectionState.CLOSED)

    def _serve(self, number: int) -> amqp_session.Lost:
        """One connection, from its beginning to its end."""
        self._set_state(ConnectionState.CONNECTING)
        session = amqp_session.Session(self._options, number, self._shared, self._go_online)
        with self._shared.changed:
            self._session = session
            if self._is_stopping:
                session.stop()
        return session.run()

    def _pause(self, wait_s: float) -> None:
        self._set_state(ConnectionState.WAITING)
        with self._shared.changed:
            self._shared.changed.wait_for(lambda: self._is_stopping, wait_s)

    def _go_online(self) -> None:
        if self._was_online:
            self._shared.counters.reconnects += 1
        self._was_online = True
        self._set_state(ConnectionState.ONLINE)

    def _set_state(self, state: ConnectionState) -> None:
        with self._shared.changed:
            if state is self._state or self._state is ConnectionState.CLOSED:
                return
            self._state = state
            self._shared.changed.notify_all()
        _log.info("connection state=%s rabbitmq=%s reason=%r", state.value, self._where, self.last_failure)


def _options(
    where: AmqpAddress, name: str, credentials: Credentials, heartbeat_s: int, timeout_s: float
) -> amqp_session.Options:
    """A password of `credentials` counts before the address's. Without user or certificate we are RabbitMQ's `guest`,
    whom it lets in from its own machine only."""
    address, password = where.address, credentials.password or where.password
    if credentials.has_files and not address.tls:
        raise errors.SettingsError(f"RabbitMQ {where}: certificates are for TLS; give its address as amqps://")
    if address.user is not None and password is None and credentials.certificate is None:
        raise errors.SettingsError(f"RabbitMQ {where}: user {address.user!r} needs a password or a certificate")
    is_certified = credentials.certificate is not None and password is None
    return amqp_session.Options(
        where=where,
        name=name,
        user=None if is_certified else address.user or "guest",
        password=password or "guest",
        tls=credentials.ssl_context() if address.tls else None,
        heartbeat_s=heartbeat_s,
        timeout_s=timeout_s,
    )


def _bounded(timeout_s: float) -> float:
    return min(timeout_s, threading.TIMEOUT_MAX)
