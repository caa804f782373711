"""The packets of MQTT 5 that a device sends and gets, as bytes: no library, for thousands of devices share a core."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

CONNACK, PUBLISH, PUBACK, SUBACK, DISCONNECT = 2, 3, 4, 9, 14
_CONNECT, _SUBSCRIBE, _PING = 1, 8, bytes([0xC0, 0])
_U16, _U32 = struct.Struct(">H"), struct.Struct(">I")
_RECEIVE_MAXIMUM, _MAXIMUM_PACKET, _SESSION_EXPIRY = 0x21, 0x27, 0x11
_WILL, _WILL_QOS_1, _WILL_RETAIN, _CLEAN_START = 0x04, 0x08, 0x20, 0x02
_RETAIN = 0x01


class Packet(NamedTuple):
    kind: int
    flags: int
    body: bytes


class Publication(NamedTuple):
    topic: bytes
    payload: bytes
    mid: int | None  # None at QoS 0


class Reader:
    """Takes bytes as they come, gives whole packets."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> Iterator[Packet]:
        held = self._held + data if self._held else data
        at = 0
        while (begin := _body_of(held, at)) is not None:
            end, body = begin
            yield Packet(held[at] >> 4, held[at] & 15, held[body:end])
            at = end
        self._held = held[at:]


def connect(client_id: str, will: tuple[str, bytes], *, keepalive_s: int, inbox: int, packet_bytes: int) -> bytes:
    """A clean session that ends with its connection; the will is retained, at QoS 1."""
    properties = bytes([_SESSION_EXPIRY]) + _U32.pack(0)
    properties += bytes([_RECEIVE_MAXIMUM]) + _U16.pack(inbox) + bytes([_MAXIMUM_PACKET]) + _U32.pack(packet_bytes)
    flags = _CLEAN_START | _WILL | _WILL_QOS_1 | _WILL_RETAIN
    body = _text("MQTT") + bytes([5, flags]) + _U16.pack(keepalive_s) + _varint(len(properties)) + properties
    topic, payload = will
    body += _text(client_id) + b"\0" + _text(topic) + _U16.pack(len(payload)) + payload
    return _packet(_CONNECT << 4, body)


def subscribe(mid: int, topic_filters: tuple[str, ...], qos: int) -> bytes:
    wanted = b"".join(_text(each) + bytes([qos]) for each in topic_filters)
    return _packet(_SUBSCRIBE << 4 | 2, _U16.pack(mid) + b"\0" + wanted)


def publish(topic: str, payload: bytes, *, mid: int | None = None, retain: bool = False) -> bytes:
    """At QoS 1 with a `mid`, else at QoS 0."""
    flags = (_RETAIN if retain else 0) | (0 if mid is None else 2)
    return _packet(PUBLISH << 4 | flags, _text(topic) + (b"" if mid is None else _U16.pack(mid)) + b"\0" + payload)


def puback(mid: int) -> bytes:
    return bytes([PUBACK << 4, 2]) + _U16.pack(mid)


def ping() -> bytes:
    return _PING


def disconnect() -> bytes:
    return bytes([DISCONNECT << 4, 0])


def published(packet: Packet) -> Publication:
    (length,) = _U16.unpack_from(packet.body)
    at = 2 + length
    mid = None
    if packet.flags & 6:
        (mid,) = _U16.unpack_from(packet.body, at)
        at += 2
    properties, at = _read_varint(packet.body, at)
    return Publication(packet.body[2 : 2 + length], packet.body[at + properties :], mid)


def acknowledged(packet: Packet) -> tuple[int, int]:
    """The packet id of a PUBACK, and its reason code."""
    (mid,) = _U16.unpack_from(packet.body)
    return mid, packet.body[2] if len(packet.body) > 2 else 0


def reason(packet: Packet) -> int:
    """Why a connection is refused (CONNACK) or ended (DISCONNECT); 0 where it is not."""
    return packet.body[1] if packet.kind == CONNACK else (packet.body or b"\0")[0]


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _varint(len(body)) + body


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _U16.pack(len(encoded)) + encoded


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends. IndexError where the rest is missing."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def _body_of(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the packet at a place ends and where its body begins; None while some of it is missing."""
    try:
        length, body = _read_varint(data, at + 1)
    except IndexError:
        return None
    return (body + length, body) if body + length <= len(data) else None
