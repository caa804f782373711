"""One connection to one RabbitMQ, from its opening to its end. Beside `failures` the only file that knows pika.

`run` is the network thread's; pika is not safe to be called from any other. Other threads reach it by `wake` and `stop`
alone. Queues, subscriptions and counters outlive it; the next session goes on with them.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from broker.amqp import failures, queue_names
from broker.amqp.address import AmqpAddress
from broker.transport import bounded_queues, network, protocol
from broker.transport.state import Lost, Receipt, Shared, Subscription
from tflsplit import errors, extras
from tflsplit.values.classes import dataclass, field

try:
    import pika
    from pika.adapters.select_connection import IOLoop
except ModuleNotFoundError as missing:
    raise errors.DeviceError(extras.need("a RabbitMQ queue", "pika")) from missing

_log = logging.getLogger(__name__)

# pika tells at ERROR, with tracebacks, of each attempt that fails, and of each part of it. We tell once.
logging.getLogger("pika").setLevel(logging.CRITICAL)

# How long a goodbye may take. RabbitMQ gives back what we held either way.
_GOODBYE_S = 2.0

# How long a queue may take to find its leader, after a restart of the cluster for example.
_CONSUME_S = 20.0

_PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Options:
    """`name` is shown among RabbitMQ's connections. A user of None shows the certificate instead of a password."""

    where: AmqpAddress
    name: str
    user: str | None
    password: str = field(repr=False)
    tls: ssl.SSLContext | None
    heartbeat_s: int = 10
    timeout_s: float = 10.0

    def parameters(self) -> pika.ConnectionParameters:
        address = self.where.address
        proof = (
            pika.credentials.ExternalCredentials()
            if self.user is None
            else pika.PlainCredentials(self.user, self.password)
        )
        return pika.ConnectionParameters(
            host=address.host,
            port=address.port,
            virtual_host=self.where.vhost,
            credentials=proof,
            ssl_options=None if self.tls is None else pika.SSLOptions(self.tls, address.host),
            heartbeat=self.heartbeat_s,
            socket_timeout=self.timeout_s,
            stack_timeout=self.timeout_s,
            tcp_options=self._tcp_options(),
            client_properties={"connection_name": self.name},
        )

    def _tcp_options(self) -> dict[str, int]:
        """By the names that pika knows; it turns the kernel's probes on by itself."""
        wanted = network.patience(self.heartbeat_s)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        return {name: wanted[socket.IPPROTO_TCP, getattr(socket, name)] for name in names if hasattr(socket, name)}


class Session:
    """`run` may be called once. `on_online` is called by the network thread, when messages may go and come."""

    def __init__(self, options: Options, number: int, shared: Shared, on_online: Callable[[], None]) -> None:
        self._options = options
        self._number = number
        self._shared = shared
        self._on_online = on_online
        self._loop = IOLoop()
        self._connection: Any = None
        self._channel: Any = None  # None unless it is open
        self._lost: Lost | None = None
        self._published = 0
        self._in_flight: dict[int, bounded_queues.Outgoing] = {}  # by delivery tag, which RabbitMQ counts too, in order
        self._consumers: dict[str, str] = {}  # topic filter → consumer tag
        self._guard = threading.Lock()  # of the two below; the loop must not be called once it is closed
        self._is_over = False
        self._is_woken = False

    def run(self) -> Lost:
        """Serves until the connection ends, whoever ends it."""
        options = self._options
        self._connection = pika.SelectConnection(
            options.parameters(),
            on_open_callback=self._on_open,
            on_open_error_callback=lambda _, problem: self._finish(self._failed(problem)),
            on_close_callback=lambda _, problem: self._finish(self._failed(problem)),
            custom_ioloop=self._loop,
        )
        try:
            self._loop.start()
        except AssertionError:
            # pika 1.4 fails on its own exception when a connection is closed before it was open. Its socket is closed.
            if self._lost is None:
                raise
        with self._guard:
            self._is_over = True
        self._loop.close()
        self._give_back()
        return self._lost or Lost("closed")

    def wake(self) -> None:
        """From any thread: there is something to send, to acknowledge or to subscribe to."""
        with self._guard:
            if not self._is_over and not self._is_woken:
                self._is_woken = True
                self._loop.add_callback_threadsafe(self._awake)

    def stop(self) -> None:
        """From any thread: acknowledges what is done with, says goodbye, and lets `run` return."""
        with self._guard:
            if not self._is_over:
                self._loop.add_callback_threadsafe(self._say_goodbye)

    def _awake(self) -> None:
        with self._guard:
            self._is_woken = False
        self._pump()

    def _say_goodbye(self) -> None:
        self._pump()
        self._hang_up(Lost("closed"))

    def _hang_up(self, lost: Lost) -> None:
        """`_finish` follows, from RabbitMQ's answer or without it."""
        self._lost = self._lost or lost
        self._channel = None
        if not (self._connection.is_closing or self._connection.is_closed):
            # pika has no public way to close a connection whose other end is silent.
            self._loop.call_later(_GOODBYE_S, self._connection._adapter_disconnect_stream)
            self._connection.close()

    def _finish(self, lost: Lost) -> None:
        self._lost = self._lost or lost
        self._channel = None
        self._loop.stop()

    def _failed(self, problem: BaseException) -> Lost:
        return failures.lost(problem, self._options.where, self._options.user)

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        # Somebody deleted the queue: the next session declares it anew.
        channel.add_on_cancel_callback(lambda _: self._hang_up(Lost("the queue was deleted")))
        channel.basic_qos(prefetch_count=self._shared.limits.inbox_messages)
        channel.confirm_delivery(ack_nack_callback=self._on_confirmed, callback=lambda _: self._go(channel))

    def _go(self, channel: Any) -> None:
        self._channel = channel
        self._on_online()
        self._pump()

    def _on_channel_closed(self, _: Any, problem: Exception) -> None:
        lost = self._failed(problem)
        with self._shared.changed:
            for wanted in self._shared.subscriptions.values():
                if wanted.session == self._number and not wanted.answered:
                    wanted.answered, wanted.refusal = True, lost.reason
            self._shared.changed.notify_all()
        self._hang_up(lost)

    def _pump(self) -> None:
        if self._channel is None or not self._channel.is_open:
            return
        self._subscribe()
        while len(self._in_flight) < self._shared.limits.window:
            outgoing = self._shared.outbox.take(is_window_full=False)
            if outgoing is None:
                break
            self._send(outgoing)
        self._acknowledge()

    def _subscribe(self) -> None:
        with self._shared.changed:
            new = [wanted for wanted in self._shared.subscriptions.values() if wanted.session != self._number]
        for wanted in new:
            wanted.session = self._number
            is_consuming = wanted.topic_filter in self._consumers
            if is_consuming and wanted.is_ending:
                tag = self._consumers.pop(wanted.topic_filter)
                self._channel.basic_cancel(tag, callback=lambda _, wanted=wanted: self._answer(wanted))
            elif is_consuming or wanted.is_ending:
                self._answer(wanted)
            else:
                self._consume(wanted)

    def _consume(self, wanted: Subscription) -> None:
        """All four are sent at once; if RabbitMQ refuses one, it closes the channel and says why. A queue without a
        leader answers never, and nobody would see that no frame comes: so the connection ends then."""
        wanted.answered = False
        self._loop.call_later(_CONSUME_S, lambda: self._expect(wanted))
        frames = queue_names.frames(wanted.topic_filter)
        for queue in (frames.dead, frames.waiting):
            self._channel.queue_declare(queue.name, durable=True, arguments=queue.arguments)
        self._channel.queue_bind(frames.waiting.name, queue_names.EXCHANGE, frames.binding)
        self._consumers[wanted.topic_filter] = self._channel.basic_consume(
            frames.waiting.name, self._on_message, callback=lambda _: self._answer(wanted)
        )

    def _expect(self, wanted: Subscription) -> None:
        if not wanted.answered and wanted.session == self._number:
            self._hang_up(Lost(f"no answer to the subscription to {wanted.topic_filter} within {_CONSUME_S:g} s"))

    def _answer(self, wanted: Subscription) -> None:
        with self._shared.changed:
            wanted.answered = True
            self._shared.changed.notify_all()

    def _on_message(self, channel: Any, delivery: Any, _: Any, body: bytes) -> None:
        # QoS 1 whatever the device used: all that comes out of a queue is to be acknowledged.
        message = protocol.Message(
            queue_names.topic(delivery.routing_key),
            body,
            qos=1,
            duplicate=delivery.redelivered,
            receipt=(self._number, delivery.delivery_tag),
            arrived_at_s=time.monotonic(),
        )
        if not self._shared.take_in(message):
            # Other clouds may have room; the delivery limit ends it if none has.
            channel.basic_nack(delivery.delivery_tag, requeue=True)

    def _send(self, outgoing: bounded_queues.Outgoing) -> None:
        remaining_s = None if outgoing.expires_at_s is None else outgoing.expires_at_s - self._shared.clock()
        if remaining_s is not None and remaining_s <= 0:
            self._shared.drop(outgoing, protocol.Drop.EXPIRED)
            return
        if outgoing.sendings == 0:
            self._shared.counters.published += 1
        else:
            self._shared.counters.resent += 1
        outgoing.sendings += 1
        self._published += 1
        self._in_flight[self._published] = outgoing
        self._channel.basic_publish(
            queue_names.EXCHANGE,
            queue_names.routing_key(outgoing.topic),
            bytes(outgoing.payload),
            # Without its own header the MQTT plugin hands it out at QoS 1; with one of the wrong type it hangs up.
            pika.BasicProperties(
                delivery_mode=_PERSISTENT if outgoing.qos else None,
                expiration=None if remaining_s is None else str(max(1, round(remaining_s * 1e3))),
            ),
        )

    def _on_confirmed(self, frame: Any) -> None:
        """RabbitMQ has a message, or refuses it; `multiple` speaks for all before it too."""
        tag, is_refused = frame.method.delivery_tag, isinstance(frame.method, pika.spec.Basic.Nack)
        settled = [sent for sent in self._in_flight if sent <= tag] if frame.method.multiple else [tag]
        for each in settled:
            outgoing = self._in_flight.pop(each)
            if is_refused:
                self._shared.drop(outgoing, protocol.Drop.REFUSED)
                _log.warning("message refused topic=%s", outgoing.topic)
            else:
                self._shared.counters.acknowledged += outgoing.qos > 0
                self._shared.outbox.release(outgoing)
        self._pump()

    def _acknowledge(self) -> None:
        receipts = self._shared.receipts
        while receipts and (receipts[0].session != self._number or self._is_confirmed(receipts[0])):
            receipt = receipts.popleft()
            if receipt.session == self._number:
                self._channel.basic_ack(receipt.mid)

    def _is_confirmed(self, receipt: Receipt) -> bool:
        """Whether RabbitMQ has all that was to be published before; then the frame may leave its queue."""
        is_sent = receipt.after == 0 or self._shared.outbox.has_taken(receipt.after)
        return is_sent and all(sent.number > receipt.after for sent in self._in_flight.values())

    def _give_back(self) -> None:
        """What was not confirmed goes again with the next session; at QoS 0 it may be there already."""
        unconfirmed = list(self._in_flight.values())
        self._in_flight.clear()
        for outgoing in unconfirmed:
            if outgoing.qos == 0:
                self._shared.drop(outgoing, protocol.Drop.CONNECTION_LOST)
        self._shared.outbox.put_back(outgoing for outgoing in unconfirmed if outgoing.qos > 0)
