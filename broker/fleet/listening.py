"""Hears the telemetry of a deployment over a connection of its own, so that it never delays frames."""

import logging
import threading
from typing import Protocol

from broker.messages import telemetry, topics
from broker.messages.telemetry import Telemetry
from broker.transport.protocol import Message, Transport
from tflsplit import errors

log = logging.getLogger(__name__)

_LOOK_S = 0.2


class Taker(Protocol):
    """Told on the listening thread."""

    def told(self, device: str, said: Telemetry) -> None: ...

    def unreadable(self) -> None: ...


class Listening:
    """Listens on a thread of its own from `start` until `close`."""

    def __init__(self, transport: Transport, deployment: str, taker: Taker) -> None:
        self._transport = transport
        self._deployment = deployment
        self._taker = taker
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"fleet-{deployment}", daemon=True)

    def start(self) -> None:
        """BrokerError if the broker does not let us read telemetry."""
        self._transport.subscribe(topics.every_device(self._deployment, topics.Kind.TELEMETRY), qos=0)
        self._thread.start()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> "Listening":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, message: Message) -> None:
        """Handles any message on a telemetry topic."""
        if telemetry.is_for_others(message.payload):
            return
        try:
            device, said = topics.parse(message.topic).device, telemetry.parse(message.payload)
        except errors.FrameError as problem:
            log.debug("telemetry ignored topic=%s reason=%s", message.topic, problem)
            self._taker.unreadable()
        else:
            self._taker.told(device, said)

    def _listen(self) -> None:
        while not self._stopping.is_set():
            message = self._transport.receive(_LOOK_S)
            if message is not None:
                self.take(message)
                self._transport.acknowledge(message)
