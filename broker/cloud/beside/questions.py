"""Answers what devices ask on their telemetry topics, on their control topics: probes of the link, and what others of
their kind have measured.

On a thread of its own: a probe that had to wait for a tail would say of a busy server that its link is slow.
"""

import logging
import threading
import time

from broker.cloud.beside.siblings import Siblings
from broker.messages import probes, siblings, topics
from broker.transport.protocol import ConnectionState, Message, Transport
from tflsplit import errors

log = logging.getLogger(__name__)

_LOOK_S = 0.5


class Questions:
    """From `start` until the transport is closed."""

    def __init__(self, transport: Transport, deployment: str) -> None:
        self._transport = transport
        self._deployment = deployment
        self._siblings = Siblings()

    def start(self) -> None:
        """Where the broker does not let us listen, edges measure the link by their frames alone."""
        every = topics.every_device(self._deployment, topics.Kind.TELEMETRY)
        self._transport.set_aside(f"/{topics.Kind.TELEMETRY.value}")
        try:
            self._transport.subscribe(every, qos=0)
        except errors.BrokerError as problem:
            log.warning("probes are not answered filter=%s reason=%s", every, problem)
            return
        threading.Thread(target=self._run, name=f"devices-{self._deployment}", daemon=True).start()

    def _run(self) -> None:
        while self._transport.state is not ConnectionState.CLOSED:
            message = self._transport.receive_aside(_LOOK_S)
            if message is not None:
                self._take(message)

    def _take(self, message: Message) -> None:
        try:
            asked = topics.parse(message.topic)
            answer = self._answer(asked.device, message)
            if answer is not None:
                answers = topics.topic(asked.deployment, asked.device, topics.Kind.CONTROL)
                self._transport.try_publish(answers, answer, qos=0)
        except errors.TflsplitError as problem:
            log.debug("question not answered topic=%s reason=%s", message.topic, problem)

    def _answer(self, device: str, message: Message) -> bytes | None:
        """None for what is no question."""
        if probes.is_one(message.payload):
            return probes.answer_to(message.payload, time.monotonic() - message.arrived_at_s)
        if siblings.is_one(message.payload):
            found = self._siblings.take(device, siblings.parse(message.payload))
            return None if found is None else found.encode()
        return None
