"""One TCP connection to one MQTT broker, from CONNECT to its end: all that knows paho-mqtt, and only what it documents.

A `Connection` is driven by one thread at a time: no locks, no callbacks into our code. paho's callbacks only note
events, and `move` returns them. Another thread may `wait` meanwhile. Each connection has a paho client of its own,
because paho resends on its own account, beyond the broker's Receive Maximum and however often a packet was refused;
what is resent is decided by `broker.mqtt.transport` instead.
"""

import contextlib
import enum
import os
import select
import socket
import ssl
import struct
import time
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.mqtt import goodbye, reason_codes
from broker.mqtt.events import Accepted, Acknowledged, Event, Subscribed
from broker.mqtt.tidy_socket import TidySocket
from broker.transport import network, remedies
from broker.transport.address import Address
from broker.transport.bounded_queues import Outgoing
from broker.transport.protocol import Message
from broker.transport.state import Lost
from tflsplit.values.classes import dataclass, replace

# Linux only. It wears off by itself after some packets, so it is set again around every read.
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)

# A broker is lost that was silent for so many keepalives; by as many it judges us. paho alone waits for two.
_SILENCE = 1.5
# The longest that one look at the socket counts as silence.
_LOOK_S = 1.0
# How often paho looks whether it should ping.
_MISC_S = 0.4
_clock = time.monotonic
# What paho raises for packets that it cannot read, and for a socket that vanished under it. Whose fault a packet is
# stays open: the reason names paho beside what it raised.
_FOREIGN = (OSError, ValueError, IndexError, KeyError, struct.error, MQTTException)

_RETAINED_IF_NEW = 1  # retain handling: retained messages again only if the broker had forgotten the subscription

# Reason codes of MQTT 5; paho translates the return codes of 3.1.1 into them.
_REFUSALS_FOR_GOOD = {
    0x81,  # malformed packet
    0x82,  # protocol error
    0x84,  # unsupported protocol version
    0x85,  # client identifier not valid
    0x86,  # bad user name or password
    0x87,  # not authorized
    0x8A,  # banned
    0x8C,  # bad authentication method
    0x95,  # packet too large
    0x99,  # payload format invalid
    0x9A,  # retain not supported
    0x9B,  # QoS not supported
}
_UNSUPPORTED_PROTOCOL = 0x84
_PACKET_TOO_LARGE = 0x95
_KEEP_ALIVE_TIMEOUT = 0x8D

reason_codes.complete()


class Version(enum.Enum):
    MQTT_5 = MQTTProtocolVersion.MQTTv5
    MQTT_311 = MQTTProtocolVersion.MQTTv311

    def __str__(self) -> str:
        return "5" if self is Version.MQTT_5 else "3.1.1"


@dataclass(frozen=True, slots=True)
class Options:
    """What a CONNECT says; `will` is (topic, payload), sent at QoS 1 and retained."""

    address: Address
    client_id: str
    version: Version
    keepalive_s: int
    clean_start: bool
    session_expiry_s: int
    receive_maximum: int
    max_packet_bytes: int
    connect_timeout_s: float
    password: str | None = None
    tls: ssl.SSLContext | None = None
    has_certificate: bool = False
    will: tuple[str, bytes] | None = None


class Connection:
    def __init__(self, options: Options, number: int) -> None:
        self._options = options
        self._number = number
        self._events: list[Event] = []
        self._was_accepted = False
        self._poll: Any = None
        self._polled = 0  # what the socket is polled for
        self._has_more = False  # TLS has it already, so poll cannot see it
        self._looked_s, self._silent_s, self._misc_s = _clock(), 0.0, 0.0
        self._client = self._make_client()

    @property
    def is_writing(self) -> bool:
        """Whether there is what the socket did not take. Publish nothing meanwhile: paho's queue has no bound."""
        return self._client.want_write()

    @property
    def knows_shares(self) -> bool:
        return self._options.version is Version.MQTT_5

    def open(self, tcp_s: float | None = None) -> Lost | None:
        """TCP, TLS and the CONNECT packet; TCP may take `tcp_s`, by default `connect_timeout_s`. Accepted or Lost comes
        from `step`."""
        options = self._options
        self._client.connect_timeout = options.connect_timeout_s if tcp_s is None else tcp_s
        properties = None
        if options.version is Version.MQTT_5:
            properties = _properties(PacketTypes.CONNECT)
            properties.ReceiveMaximum = options.receive_maximum
            properties.MaximumPacketSize = options.max_packet_bytes
            properties.SessionExpiryInterval = options.session_expiry_s
        clean_start = options.clean_start if options.version is Version.MQTT_5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        try:
            self._client.connect_async(
                options.address.host,
                options.address.port,
                options.keepalive_s,
                clean_start=clean_start,
                properties=properties,
            )
            self._client.reconnect()
        except OSError as problem:
            return remedies.of_opening(problem, options.address)
        return None

    @property
    def is_broken(self) -> bool:
        """Whether it is lost, which `move` has not said yet."""
        return self._client.socket() is None

    def step(self, timeout_s: float, waker: socket.socket) -> list[Event]:
        """Moves bytes both ways once, after waiting up to `timeout_s` for some or for `waker`. Lost comes last."""
        self.write()
        return self.move(*self.wait(timeout_s, waker))

    def wait(self, timeout_s: float, waker: socket.socket) -> tuple[bool, bool]:
        """Until there is something to read, or room for what is to be written, or `waker` has something: which of the
        first two."""
        sock: Any = self._client.socket()
        if sock is None:
            return False, False
        try:
            if self._poll is None:
                self._poll = select.poll()
                self._poll.register(waker, select.POLLIN)
            wanted = select.POLLIN | select.POLLOUT if self.is_writing else select.POLLIN
            if wanted != self._polled:
                self._poll.register(sock, wanted)
                self._polled = wanted
        except (OSError, ValueError):  # another thread has just met its end
            return True, False
        is_readable, is_writable = self._has_more, False
        for number, mask in self._poll.poll(0 if self._has_more else timeout_s * 1000):
            if number == waker.fileno():
                with contextlib.suppress(BlockingIOError):
                    waker.recv(4096)
            else:
                is_readable, is_writable = is_readable or bool(mask & ~select.POLLOUT), bool(mask & select.POLLOUT)
        return is_readable, is_writable

    def move(self, is_readable: bool, is_writable: bool) -> list[Event]:
        """Moves bytes as the socket is ready for it. Lost comes last."""
        try:
            if is_readable:
                self._read()
                sock: Any = self._client.socket()
                self._rearm_quickack(sock)
                self._has_more = self._options.tls is not None and sock is not None and sock.pending() > 0
            if is_writable:
                self.write()
            now_s = _clock()
            if now_s - self._misc_s >= _MISC_S:
                self._misc_s = now_s
                self._client.loop_misc()
                self.write()  # a ping
            self._listen(now_s, has_heard=is_readable)
        except _FOREIGN as problem:
            self._meet(problem)
        events, self._events = self._events, []
        if self._client.socket() is None and not any(isinstance(event, Lost) for event in events):
            events.append(self._lost("connection closed"))
        return events

    def _listen(self, now_s: float, *, has_heard: bool) -> None:
        """Ends a connection whose other end is silent though paho has pinged it: `keepalive_s` after it was heard last.
        Time in which nobody looked, since this machine slept or stalled, is no silence."""
        self._silent_s = 0.0 if has_heard else self._silent_s + min(now_s - self._looked_s, _LOOK_S)
        self._looked_s = now_s
        if self._was_accepted and self._silent_s > _SILENCE * self._options.keepalive_s:
            self._events.append(self._lost(f"the broker was not heard for {self._silent_s:.1f} s"))
            self.drop()

    def publish(self, outgoing: Outgoing, expiry_s: float | None) -> int:
        """The packet id, of no meaning at QoS 0; the packet itself leaves with `write`."""
        properties = None
        if expiry_s is not None and self._options.version is Version.MQTT_5:
            properties = _properties(PacketTypes.PUBLISH)
            properties.MessageExpiryInterval = max(1, round(expiry_s))
        payload: Any = outgoing.payload if isinstance(outgoing.payload, bytes | bytearray) else bytes(outgoing.payload)
        return self._publish(outgoing, payload, properties)

    def subscribe(self, topic_filter: str, qos: int, *, is_renewal: bool) -> int:
        if self._options.version is Version.MQTT_5:
            retain_handling = _RETAINED_IF_NEW if is_renewal else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
            _, mid = self._client.subscribe(
                topic_filter, options=SubscribeOptions(qos=qos, retainHandling=retain_handling)
            )
        else:
            _, mid = self._client.subscribe(topic_filter, qos)
        assert mid is not None  # noqa: S101 - None only without a socket, and then step() has said Lost
        return mid

    def unsubscribe(self, topic_filter: str) -> int:
        """The answer is a `Subscribed` too."""
        _, mid = self._client.unsubscribe(topic_filter)
        assert mid is not None  # noqa: S101 - as above
        return mid

    def acknowledge(self, mid: int) -> None:
        self._client.ack(mid, 1)

    def write(self) -> None:
        """Gives the socket what was published, without waiting."""
        try:
            self._client.loop_write()
        except _FOREIGN as problem:
            self._meet(problem)

    def close(self) -> None:
        """DISCONNECT, which also withdraws the last will, and the end of the socket. Never blocks for long."""
        sock: Any = self._client.socket()
        if sock is not None:
            # A second handle, for paho closes its own when it has written the DISCONNECT.
            with contextlib.suppress(OSError, ValueError), socket.socket(fileno=os.dup(sock.fileno())) as held:
                self._client.disconnect()
                self._client.loop_write()
                goodbye.wait_for_hang_up(held)
        self.drop()

    def drop(self) -> None:
        """The end of the socket without a goodbye: the broker will publish the last will."""
        self._client.on_disconnect = None
        sock: Any = self._client.socket()
        if sock is not None:
            sock.close()

    def _new_client(self, **options: Any) -> paho.Client:
        return paho.Client(CallbackAPIVersion.VERSION2, **options)

    def _publish(self, outgoing: Outgoing, payload: bytes | bytearray, properties: Properties | None) -> int:
        while True:
            told = self._client.publish(outgoing.topic, payload, outgoing.qos, outgoing.retain, properties)
            # Its queue has no bound, so this says that a message of 65535 before has this id and is not acknowledged.
            if told.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                return told.mid

    def _read(self) -> None:
        # Only meanwhile, since for QoS 0 it would be called too, by `loop_write`, and with an id of no meaning.
        self._client.on_publish = self._on_publish
        self._client.loop_read()
        self._client.on_publish = None

    def _make_client(self) -> paho.Client:
        options = self._options
        client = self._new_client(
            client_id=options.client_id,
            protocol=options.version.value,
            clean_session=None if options.version is Version.MQTT_5 else options.clean_start,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0  # none: `broker.mqtt.session` has the window, and knows the broker's
        if options.address.user is not None:
            client.username_pw_set(options.address.user, options.password)
        if options.tls is not None:
            options.tls.sslsocket_class = TidySocket
            client.tls_set_context(options.tls)
        if options.will is not None:
            topic, payload = options.will
            client.will_set(topic, payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = client.on_unsubscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        # With any callback here paho leaves writing to whoever drives it, instead of writing from within publish().
        client.on_socket_register_write = self._on_register_write
        return client

    def _on_register_write(self, *_: Any) -> None:
        """There is something to write, which `is_writing` tells."""

    def _on_socket_open(self, _: Any, __: Any, sock: Any) -> None:
        with contextlib.suppress(OSError):  # no TCP: `broker.mqtt.paho_check`
            # Without it Nagle's algorithm and delayed acknowledgements add 40 ms to every small exchange.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option, value in network.patience(_SILENCE * self._options.keepalive_s).items():
                sock.setsockopt(*option, value)
            sock.setsockopt(socket.IPPROTO_TCP, network.TCP_RTO_MAX_MS, network.RTO_MAX_MS)
        self._rearm_quickack(sock)

    def _rearm_quickack(self, sock: Any) -> None:
        """Our kernel acknowledges at once, so that a broker with Nagle's algorithm on does not wait 40 ms for it."""
        if _QUICKACK is not None and sock is not None:
            try:  # noqa: SIM105 - each frame comes here, and a context manager costs more than the call
                sock.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            except OSError:
                pass  # a socket that has just gone says so at its next read

    def _meet(self, problem: Exception) -> None:
        self._events.append(self._lost(f"paho-mqtt could not read a packet: {problem!r}"))
        self.drop()

    def _lost(self, reason: str, *, is_packet: bool = False) -> Lost:
        if not self._was_accepted:
            reason += remedies.of_hanging_up(self._options.address)
        # Brokers without MQTT 5 often just hang up on its CONNECT, or answer in a way that is none in MQTT 5.
        return Lost(reason, is_version=not self._was_accepted, is_packet=is_packet)

    def _on_connect(self, _: Any, __: Any, flags: paho.ConnectFlags, code: ReasonCode, said: Properties | None) -> None:
        if code.is_failure:
            options, is_version = self._options, code.value == _UNSUPPORTED_PROTOCOL
            remedy = remedies.of_refusal(
                code.value,
                options.address,
                has_password=options.password is not None,
                has_certificate=options.has_certificate,
            )
            self._events.append(
                Lost(
                    f"refused: {code} (0x{code.value:02x}){remedy}",
                    is_for_good=code.value in _REFUSALS_FOR_GOOD,
                    is_version=is_version,
                )
            )
            return
        self._was_accepted = True
        self._events.append(
            Accepted(
                flags.session_present, getattr(said, "ReceiveMaximum", None), getattr(said, "MaximumPacketSize", None)
            )
        )

    def _on_disconnect(self, _: Any, __: Any, flags: paho.DisconnectFlags, code: ReasonCode, ___: Any) -> None:
        if any(isinstance(event, Lost) for event in self._events):
            return
        by = "broker hung up" if flags.is_disconnect_packet_from_server else "connection lost"
        is_packet = flags.is_disconnect_packet_from_server and code.value == _PACKET_TOO_LARGE
        lost = self._lost(f"{by}: {code}", is_packet=is_packet)
        if not self._was_accepted and code.value == _KEEP_ALIVE_TIMEOUT:
            lost = replace(lost, reason="it was reached, and did not answer: it hangs, or it is no broker")
        self._events.append(lost)

    def _on_publish(self, _: Any, __: Any, mid: int, code: ReasonCode, ___: Any) -> None:
        self._events.append(acknowledged(mid, code))

    def _on_subscribe(self, _: Any, __: Any, mid: int, codes: list[ReasonCode], ___: Any) -> None:
        refusal = next((str(code) for code in codes if code.is_failure), None)
        self._events.append(Subscribed(mid, refusal))

    def _on_message(self, _: Any, __: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no topic of ours: whoever parses it refuses it
        payload, receipt = bytes(message.payload), (self._number, message.mid)
        self._events.append(
            Message(topic, payload, message.qos, message.retain, message.dup, receipt, time.monotonic())
        )


def acknowledged(mid: int, code: ReasonCode) -> Acknowledged:
    return Acknowledged(mid, str(code) if code.is_failure else None, code.value == _PACKET_TOO_LARGE)


def _properties(packet_type: int) -> Any:
    return Properties(packet_type)  # type: ignore[no-untyped-call] # paho's class sets its attributes by magic
