"""Answers probes of the link, as clouds do beside their frames: on the device's control topic, at once or never."""

import logging
import time

from broker.messages import probes, topics
from broker.transport.protocol import Message, Transport
from tflsplit import errors

log = logging.getLogger(__name__)

_ASKED = f"/{topics.Kind.TELEMETRY.value}"


def listen(transport: Transport, deployment: str) -> None:
    """Subscribes; where the broker does not let us, edges measure the link by their frames alone."""
    every = topics.every_device(deployment, topics.Kind.TELEMETRY)
    try:
        transport.subscribe(every, qos=0)
    except errors.BrokerError as problem:
        log.warning("probes are not answered filter=%s reason=%s", every, problem)


def take(transport: Transport, message: Message) -> bool:
    """Whether it came on a telemetry topic; a probe among these is answered."""
    if not message.topic.endswith(_ASKED):
        return False
    if probes.is_one(message.payload):
        try:
            asked = topics.parse(message.topic)
            answers = topics.topic(asked.deployment, asked.device, topics.Kind.CONTROL)
            waited_s = time.monotonic() - message.arrived_at_s
            transport.try_publish(answers, probes.answer_to(message.payload, waited_s), qos=0)
        except errors.TflsplitError as problem:
            log.debug("probe not answered topic=%s reason=%s", message.topic, problem)
    return True
