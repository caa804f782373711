"""Answers what devices ask on their telemetry topics, on their control topics: probes of the link.

On a thread of its own: a probe that had to wait for a tail would say of a busy server that its link is slow.
"""

import logging
import threading
import time

from broker.messages import probes, topics
from broker.transport.protocol import ConnectionState, Message, Transport
from tflsplit import errors

log = logging.getLogger(__name__)

_LOOK_S = 0.5


class Questions:
    """From `start` until the transport is closed."""

    def __init__(self, transport: Transport, deployment: str) -> None:
        self._transport = transport
        self._deployment = deployment

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
        if not probes.is_one(message.payload):
            return
        try:
            asked = topics.parse(message.topic)
            answers = topics.topic(asked.deployment, asked.device, topics.Kind.CONTROL)
            waited_s = time.monotonic() - message.arrived_at_s
            self._transport.try_publish(answers, probes.answer_to(message.payload, waited_s), qos=0)
        except errors.TflsplitError as problem:
            log.debug("probe not answered topic=%s reason=%s", message.topic, problem)
