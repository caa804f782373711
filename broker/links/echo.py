"""The peer that answers probes of a link: `tflsplit probe --echo` beside the cloud."""

import threading

from broker.messages import probes, topics
from broker.transport.protocol import Message, Transport
from tflsplit import errors

_LOOK_S = 0.2
_PATIENCE_S = 5.0


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
        if not probes.is_one(asked.payload):
            return
        try:
            device = topics.parse(asked.topic).device
        except errors.FrameError:
            return
        topic = topics.topic(self._deployment, device, topics.Kind.CONTROL)
        self._transport.publish(topic, probes.answer_to(asked.payload), qos=asked.qos, timeout_s=_PATIENCE_S)
        self.answered += 1
