"""paho's client with what costs it most on a busy connection replaced; `broker.connection` drives it.

What is replaced are private methods of paho, for the sake of speed alone: where a version of it does not call them, its
own do the same work.
"""

import socket
import ssl
from collections.abc import Callable
from typing import Any, Literal, cast

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.bulksocket import BulkSocket

_SUCCESS = ReasonCode(PacketTypes.PUBACK, "Success")
_NO_PROPERTIES = Properties(PacketTypes.PUBACK)  # type: ignore[no-untyped-call] # paho's class sets its attributes by magic

# Topic, payload, flags of the packet's first byte, QoS, packet id.
OnFrame = Callable[[str, bytes, int, int, int], None]


class LeanClient(paho.Client):
    """`on_frame` gets most messages, `on_message` the others."""

    def __init__(self, *given: Any, on_frame: OnFrame, **options: Any) -> None:
        super().__init__(*given, **options)
        self._on_frame = on_frame

    def _create_socket(self) -> Any:
        return BulkSocket(cast(socket.socket, super()._create_socket()))

    def _handle_publish(self) -> MQTTErrorCode:
        """A PUBLISH of MQTT 5 without properties, at a quarter of the cost; any other is left to paho."""
        packet: bytearray = self._in_packet["packet"]
        flags: int = self._in_packet["command"] & 0x0F
        qos = flags >> 1 & 3
        at = 2 + int.from_bytes(packet[:2], "big") + (2 if qos else 0)
        if self._protocol is not MQTTProtocolVersion.MQTTv5 or qos > 1 or len(packet) <= at or packet[at]:
            return super()._handle_publish()
        topic_ends_at = at - 2 if qos else at
        mid = int.from_bytes(packet[topic_ends_at:at], "big")
        self._on_frame(
            packet[2:topic_ends_at].decode(errors="replace"), bytes(memoryview(packet)[at + 1 :]), flags, qos, mid
        )
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        """A PUBACK that says no more than which packet it is for, without making objects to say so."""
        packet: bytearray = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) != 2:
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet, "big")
        with self._out_message_mutex:
            if mid in self._out_messages:
                return self._do_on_publish(mid, _SUCCESS, _NO_PROPERTIES)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class TidySocket(ssl.SSLSocket):
    """paho forgets the socket when the handshake fails; this one closes itself."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except (OSError, ValueError):
            self.close()
            raise
