"""The transport over MQTT 5 and 3.1.1.

The network thread connects, and connects again. Who works on a connection meanwhile is said in `broker.mqtt.driving`.
"""

import logging
import random
import time

from broker.messages.presence import Presence
from broker.mqtt import paho_check, session
from broker.mqtt.connection import Connection, Options, Version
from broker.mqtt.driving import Driver
from broker.mqtt.events import Accepted
from broker.transport import address as addresses
from broker.transport import protocol
from broker.transport.address import Address, Credentials
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState
from broker.transport.reconnecting import Reconnecting
from broker.transport.repeats import Repeats
from broker.transport.state import Lost
from tflsplit import arguments
from tflsplit.values.classes import replace

_log = logging.getLogger(__name__)

# A broker without MQTT 5 may not even answer its CONNECT: amqtt takes the properties for the length of a string and
# waits for the rest. So the first attempt waits only this long before 3.1.1 is tried.
_VERSION_TIMEOUT_S = 2.0
# While a link is dead the kernel repeats what opens a connection ever more seldom, at last after 4 s: that the link is
# back is noticed sooner by new attempts. For links that need longer, each thirtieth one may take its time.
_TCP_S, _PATIENT_EVERY = 1.5, 30


class MqttTransport(Reconnecting):
    """`transport.Transport` over MQTT 5, or 3.1.1 where the broker has no more (`version` says which, once online).

    `address` is a text as mqtt://localhost, or one that is parsed. Messages that the broker had not acknowledged when a
    connection was lost are sent again as new ones, in order. With `session_expiry_s` the broker keeps our
    subscriptions, and QoS 1 messages for us, that long while we are away. A broker that is silent for one and a half
    `keepalive_s` is lost. A transport with a topic for its `mark` publishes after each reconnection what
    the broker had acknowledged and may not have saved: `broker.transport.repeats`.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        client_id: str,
        credentials: Credentials | None = None,
        version: Version | None = None,
        keepalive_s: int = 20,
        mark: str | None = None,
        session_expiry_s: int = 0,
        connect_timeout_s: float = 10.0,
        presence: Presence | None = None,
        limits: protocol.Limits | None = None,
        backoff: Backoff | None = None,
        randomness: random.Random | None = None,
    ) -> None:
        address = address if isinstance(address, Address) else addresses.parse(address)
        limits = limits or protocol.Limits()
        credentials = credentials or Credentials()
        self._options = Options(
            address=address,
            client_id=client_id,
            version=Version.MQTT_5,
            keepalive_s=keepalive_s,
            clean_start=session_expiry_s == 0,
            session_expiry_s=session_expiry_s,
            receive_maximum=limits.inbox_messages,
            max_packet_bytes=limits.packet_bytes,
            connect_timeout_s=connect_timeout_s,
            password=credentials.password,
            tls=credentials.ssl_context() if address.tls else None,
            has_certificate=credentials.certificate is not None,
        )
        arguments.check_fields(self._options)
        super().__init__(f"broker {address}", f"mqtt-{client_id}", limits, backoff, randomness)
        if mark is not None:
            self._shared.repeats = Repeats(self._shared.clock, mark)
        self._address = address
        self._presence = presence
        self._max_packet_bytes = self._shared.limits.packet_bytes
        self._version = version
        self._online_number = 0  # of the connection that was accepted last
        self._driver = Driver(self._shared, self._wakee, self._rouse)

    @property
    def version(self) -> Version | None:
        """The protocol version in use; None before the first connection if it was left open."""
        return self._version

    @property
    def max_packet_bytes(self) -> int:
        return min(self._max_packet_bytes, self._shared.packet_bytes)

    def receive(self, timeout_s: float) -> protocol.Message | None:
        return self._driver.receive(timeout_s)

    def acknowledge(self, message: protocol.Message, *, after_published: bool = False) -> None:
        self._note(message, after_published=after_published)
        if not self._driver.is_read_by_receivers:
            self._wake()

    def flush(self, timeout_s: float) -> bool:
        self._driver.hurry()
        return super().flush(timeout_s)

    def _wake(self) -> None:
        self._driver.wake()

    def _attempt(self) -> Lost:
        """One connection from its beginning to its end, or two where the first is refused for its version."""
        lost = self._serve(self._version or Version.MQTT_5)
        if self._version is None and lost.is_version and not self._is_stopping:
            _log.info("broker=%s speaks no MQTT 5 (%s), trying 3.1.1", self._address, lost.reason)
            lost = self._serve(Version.MQTT_311)
        return lost

    def _serve(self, version: Version) -> Lost:
        self._number += 1
        connection = paho_check.connection_type(version)(self._options_for(version), self._number)
        failed = connection.open(self._tcp_s())
        if failed is not None:
            return failed
        work = session.Session(connection, self._number, self._shared)
        self._driver.begin(connection, work)
        try:
            return self._serve_until_lost(connection, work, version)
        finally:
            self._driver.end()

    def _serve_until_lost(self, connection: Connection, work: session.Session, version: Version) -> Lost:
        is_probe = self._version is None and version is Version.MQTT_5
        patience_s = _VERSION_TIMEOUT_S if is_probe else self._options.connect_timeout_s
        give_up_s = time.monotonic() + patience_s
        while True:
            for event in self._driver.look_after():
                if isinstance(event, Accepted):
                    self._accept(version, work)
                elif isinstance(event, Lost):
                    return event
            if self._is_stopping:
                self._driver.end()
                work.acknowledge()  # else a durable session would get once more what was dealt with last
                return self._end(connection, work, Lost("closed"))
            if work.accepted is None and time.monotonic() > give_up_s:
                lost = Lost(f"no answer to CONNECT of MQTT {version} within {patience_s:g} s", is_version=is_probe)
                return self._end(connection, work, lost)

    def _tcp_s(self) -> float:
        """How long the other machine may take for a first answer."""
        full_s, in_vain = self._options.connect_timeout_s, self._number - self._online_number
        is_patient = not self._online_number or in_vain % _PATIENT_EVERY == 0
        return full_s if is_patient else min(_TCP_S, full_s)

    def _end(self, connection: Connection, work: session.Session, lost: Lost) -> Lost:
        connection.close()
        work.end(lost)
        return lost

    def _accept(self, version: Version, work: session.Session) -> None:
        self._version, self._online_number = version, self._number
        self._max_packet_bytes = work.max_packet_bytes
        self._driver.go_online()
        self._say("online")
        self._go_online()

    def _say_goodbye(self, timeout_s: float) -> None:
        if self._presence is not None and self._state is ConnectionState.ONLINE:
            self._say("offline", "closed")
            self._shared.outbox.wait_empty(timeout_s)

    def _stop(self) -> None:
        self._driver.go_alone()

    def _known(self) -> dict[str, object]:
        return {"broker": self._address, "mqtt": self._version}

    def _options_for(self, version: Version) -> Options:
        """Each connection has a last will of its own, which names it."""
        will = None
        if self._presence is not None:
            will = (self._presence.topic, self._presence.status("offline", self._number, "lost"))
        return replace(self._options, version=version, will=will)
