"""A connection by `FastClient`, for what passes a thousand times a second; all else is as in the plain `Connection`."""

import time
from typing import Any

from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from broker.mqtt.connection import Connection, acknowledged
from broker.mqtt.events import Acknowledged
from broker.mqtt.fast_client import FastClient
from broker.transport.bounded_queues import Outgoing
from broker.transport.protocol import Message


class FastConnection(Connection):
    _client: FastClient
    _has_pahos = False  # packets that paho made itself, and that are to be written

    @property
    def is_writing(self) -> bool:
        sock = self._client.buffered
        return self._has_pahos or (sock is not None and bool(sock.unsent))

    def acknowledge(self, mid: int) -> None:
        self._client.send_puback(mid)

    def write(self) -> None:
        if self._has_pahos:
            self._has_pahos = False
            super().write()
        sock = self._client.buffered
        if sock is not None and sock.unsent:
            sock.flush()

    def _new_client(self, **options: Any) -> FastClient:
        return FastClient(CallbackAPIVersion.VERSION2, on_frame=self._on_frame, on_puback=self._on_puback, **options)

    def _on_register_write(self, *_: Any) -> None:
        self._has_pahos = True

    def _publish(self, outgoing: Outgoing, payload: bytes | bytearray, properties: Properties | None) -> int:
        return self._client.send_publish(
            outgoing.topic, payload, outgoing.qos, retain=outgoing.retain, properties=properties
        )

    def _read(self) -> None:
        self._client.loop_read()

    def _on_puback(self, mid: int, code: int) -> None:
        taken = Acknowledged(mid, None)
        self._events.append(taken if code == 0 else acknowledged(mid, ReasonCode(PacketTypes.PUBACK, identifier=code)))

    def _on_frame(self, topic: str, payload: bytes, flags: int, qos: int, mid: int) -> None:
        is_retained, is_duplicate, receipt = bool(flags & 1), bool(flags & 8), (self._number, mid)
        self._events.append(Message(topic, payload, qos, is_retained, is_duplicate, receipt, time.monotonic()))
