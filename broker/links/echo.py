"""Probes, messages that measure a link, and the peer that answers them: `tflsplit probe --echo` beside the cloud.

Probes use a device's telemetry topic and answers its control topic, which the broker's access rules allow.

    message   4s magic · u64 run · u32 number · filling, in answers to the size of an ordinary result
"""

import struct
import threading

from broker.messages import telemetry, topics
from broker.transport.protocol import Message, Transport
from tflsplit import errors
from tflsplit.planning import network

_HEAD = struct.Struct("<4sQI")
LEAST_BYTES = _HEAD.size
_LOOK_S = 0.2
_PATIENCE_S = 5.0


def message(run: int, number: int, filling: bytes) -> bytes:
    return _HEAD.pack(telemetry.PROBE_MAGIC, run, number) + filling


def number_of(payload: bytes, run: int) -> int | None:
    """The number in a probe or answer of this run; None for any other message."""
    if len(payload) < _HEAD.size or payload[:4] != telemetry.PROBE_MAGIC:
        return None
    _, found_run, number = _HEAD.unpack_from(payload)
    return number if found_run == run else None


class Echo:
    """Answers every probe of a deployment, at the quality of service that it came with. `stop` ends `run`."""

    def __init__(self, transport: Transport, deployment: str) -> None:
        self.answered = 0
        self._transport = transport
        self._deployment = deployment
        self._stopping = threading.Event()

    def listen(self) -> None:
        """Subscribes; from now on no probe is missed."""
        self._transport.subscribe(topics.every_device(self._deployment, topics.Kind.TELEMETRY))

    def run(self) -> None:
        while not self._stopping.is_set():
            asked = self._transport.receive(_LOOK_S)
            if asked is not None:
                self._answer(asked)
                self._transport.acknowledge(asked)

    def stop(self) -> None:
        self._stopping.set()

    def _answer(self, asked: Message) -> None:
        if asked.payload[:4] != telemetry.PROBE_MAGIC or len(asked.payload) < LEAST_BYTES:
            return
        try:
            device = topics.parse(asked.topic).device
        except errors.FrameError:
            return
        answer = asked.payload[:LEAST_BYTES] + bytes(network.RESULT_BYTES - LEAST_BYTES)
        topic = topics.topic(self._deployment, device, topics.Kind.CONTROL)
        self._transport.publish(topic, answer, qos=asked.qos, timeout_s=_PATIENCE_S)
        self.answered += 1
