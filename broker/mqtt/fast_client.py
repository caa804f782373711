"""paho's client with what costs it most on a busy connection done here: PUBLISH and PUBACK, both ways.
It leans on what paho does not document; `broker.mqtt.paho_check` looks at start whether that is there.

paho makes four objects, two copies and some fifty calls of each of these packets. Here they are taken from what was
received as they stand, and written straight into the socket. Everything else is paho's: it connects, subscribes, pings,
and reads every other packet, also a PUBLISH with properties.
"""

import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.mqtt.buffered_socket import BufferedSocket

_PUBLISH, _PUBACK = PacketTypes.PUBLISH << 4, PacketTypes.PUBACK << 4
_U16 = struct.Struct("!H")

# Topic, payload, flags of the packet's first byte, QoS, packet id.
OnFrame = Callable[[str, bytes, int, int, int], None]
# Packet id and reason code, 0 where there is none.
OnPuback = Callable[[int, int], None]


class FastClient(paho.Client):
    """`on_frame` gets most messages, `on_message` the others. Neither `publish` nor `ack` may be used, since paho does
    not see the answers. One thread's."""

    def __init__(self, *given: Any, on_frame: OnFrame, on_puback: OnPuback, **options: Any) -> None:
        super().__init__(*given, **options)
        self._on_frame = on_frame
        self._on_puback = on_puback
        self._is_mqtt_5 = self._protocol is MQTTProtocolVersion.MQTTv5
        self._unacknowledged: set[int] = set()
        self.buffered: BufferedSocket | None = None  # the one that paho has, or had last

    def send_publish(
        self, topic: str, payload: bytes | bytearray, qos: int, *, retain: bool, properties: Properties | None
    ) -> int:
        """The packet id, 0 at QoS 0."""
        name, mid = topic.encode(), self._unused_mid() if qos else 0
        rest = name + (_U16.pack(mid) if qos else b"")
        if self._is_mqtt_5:
            rest += b"\0" if properties is None else properties.pack()  # type: ignore[no-untyped-call] # paho's
        length = _length(2 + len(rest) + len(payload))
        self._send(b"".join((bytes((_PUBLISH | qos << 1 | retain,)), length, _U16.pack(len(name)), rest)), payload)
        return mid

    def send_puback(self, mid: int) -> None:
        self._send(bytes((_PUBACK, 2)) + _U16.pack(mid))

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Reads once, and takes all packets that came whole."""
        sock = self.buffered
        if sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            is_open = sock.fill()
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            is_open = False
        if not is_open:
            return super().loop_read()  # meets the end as well, and knows what to do then
        self._last_bytes_received = time.monotonic()  # paho pings by it
        return self._take_whole(sock)

    def _create_socket(self) -> Any:
        self.buffered = BufferedSocket(cast(socket.socket, super()._create_socket()))
        return self.buffered

    def _take_whole(self, sock: BufferedSocket) -> MQTTErrorCode:
        received, at = sock.received, 0
        while (body := _body(received, at)) is not None:
            begin, end = body
            if not self._take(received, received[at], begin, end):
                sock.skip(at)
                code = super().loop_read()
                if code != MQTTErrorCode.MQTT_ERR_SUCCESS or self.socket() is not cast(Any, sock):
                    return code
                end = 0
            at = end
        sock.skip(at)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _take(self, received: bytearray, first: int, begin: int, end: int) -> bool:
        """Whether the packet is one of ours."""
        if first == _PUBACK and end >= begin + 2:
            (mid,) = _U16.unpack_from(received, begin)
            self._unacknowledged.discard(mid)
            self._on_puback(mid, received[begin + 2] if end > begin + 2 else 0)
            return True
        qos = first >> 1 & 3
        if first & 0xF0 != _PUBLISH or qos > 1 or not self._is_mqtt_5 or end < begin + 2:
            return False
        topic_ends_at = begin + 2 + _U16.unpack_from(received, begin)[0]
        at = topic_ends_at + (2 if qos else 0)
        if at >= end or received[at]:  # cut short, or with properties
            return False
        mid = _U16.unpack_from(received, topic_ends_at)[0] if qos else 0
        topic = received[begin + 2 : topic_ends_at].decode(errors="replace")
        self._on_frame(topic, bytes(memoryview(received)[at + 1 : end]), first & 0x0F, qos, mid)
        return True

    def _send(self, *parts: bytes | bytearray) -> None:
        if self.buffered is not None:
            self.buffered.unsent += parts
            self._last_msg_out = time.monotonic()  # paho pings by it

    def _unused_mid(self) -> int:
        while (mid := self._mid_generate()) in self._unacknowledged:  # from 65535 messages before
            pass
        self._unacknowledged.add(mid)
        return mid


def _length(remaining: int) -> bytes:
    """As MQTT writes it: seven bits a byte, the lowest first, the highest bit where more follow."""
    if remaining < 1 << 7:
        return bytes((remaining,))
    return bytes((remaining & 0x7F | 0x80,)) + _length(remaining >> 7)


def _body(received: bytearray, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at `at` begins and ends; None if it has not come whole."""
    length = 0
    for place in range(1, 5):
        if at + place >= len(received):
            return None
        byte = received[at + place]
        length |= (byte & 0x7F) << 7 * (place - 1)
        if byte < 1 << 7:
            begin = at + place + 1
            return (begin, begin + length) if begin + length <= len(received) else None
    raise ValueError("a length of more than four bytes")
