"""The transport over AMQP to a RabbitMQ: frames from a queue that clouds share, results to devices that speak MQTT.

A cloud gets no more frames than its inbox holds (`Limits.inbox_messages`, AMQP's prefetch) before it acknowledges some,
so a slow one gets less; what a cloud held when it died, RabbitMQ gives to another. Nothing can be retained over AMQP,
and there are no last wills: who is to be seen as online needs an MQTT connection beside this one.
"""

from broker.amqp import queue_names
from broker.amqp import session as amqp_session
from broker.amqp.address import AmqpAddress
from broker.transport import protocol
from broker.transport.address import Credentials
from broker.transport.backoff import Backoff
from broker.transport.reconnecting import Reconnecting
from broker.transport.state import Lost
from tflsplit import errors

# What RabbitMQ 4 takes in one message; 3 takes 128 MB. A larger one makes it close the channel.
_MESSAGE_BYTES = 16 << 20


class AmqpTransport(Reconnecting):
    """`transport.Transport` to a RabbitMQ. `subscribe` takes the frames of a deployment only, and every message comes
    at QoS 1 and must be acknowledged. `name` is shown among RabbitMQ's connections."""

    def __init__(
        self,
        where: AmqpAddress,
        *,
        name: str,
        credentials: Credentials | None = None,
        connect_timeout_s: float = 10.0,
        limits: protocol.Limits | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._where = where
        self._options = _options(where, name, credentials or Credentials(), connect_timeout_s)
        super().__init__(f"RabbitMQ {where}", f"amqp-{name}", limits, backoff)
        self._number = 0
        self._session: amqp_session.Session | None = None

    @property
    def max_packet_bytes(self) -> int:
        return min(self._shared.limits.packet_bytes, _MESSAGE_BYTES)

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        queue_names.frames(topic_filter)  # refuses what is none
        super().subscribe(topic_filter, qos=qos, timeout_s=timeout_s)

    def _check(self, topic: str, *, retain: bool) -> None:
        if retain:
            raise errors.BrokerError(f"message on {topic}: nothing can be retained over AMQP; publish it over MQTT")
        queue_names.routing_key(topic)  # refuses what would arrive on another topic

    def _wake(self) -> None:
        session = self._session
        if session is not None:
            session.wake()

    def _attempt(self) -> Lost:
        self._number += 1
        session = amqp_session.Session(self._options, self._number, self._shared, self._go_online)
        with self._shared.changed:
            self._session = session
            if self._is_stopping:
                session.stop()
        return session.run()

    def _stop(self) -> None:
        if self._session is not None:
            self._session.stop()

    def _known(self) -> dict[str, object]:
        return {"rabbitmq": self._where}


def _options(where: AmqpAddress, name: str, credentials: Credentials, timeout_s: float) -> amqp_session.Options:
    """A password of `credentials` counts before the address's. Without user or certificate we are RabbitMQ's `guest`,
    whom it lets in from its own machine only."""
    address, password = where.address, credentials.password or where.password
    if credentials.has_files and not address.tls:
        raise errors.SettingsError(f"RabbitMQ {where}: certificates are for TLS; give its address as amqps://")
    if address.user is not None and password is None and credentials.certificate is None:
        raise errors.SettingsError(
            f"RabbitMQ {where}: user {address.user!r} needs a password (--password-file) or a certificate (--cert)"
        )
    is_certified = credentials.certificate is not None and password is None
    return amqp_session.Options(
        where=where,
        name=name,
        user=None if is_certified else address.user or "guest",
        password=password or "guest",
        tls=credentials.ssl_context() if address.tls else None,
        timeout_s=timeout_s,
    )
