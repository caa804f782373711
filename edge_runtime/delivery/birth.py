"""The retained `birth` of a device: what it sends, what computes it, and what is promised, in words."""

import json
from collections.abc import Mapping

from broker.messages import topics
from broker.transport.protocol import Transport
from edge_runtime.accelerators.service import Condition
from edge_runtime.delivery.framing import Sending
from edge_runtime.delivery.settings import Settings


class Birth:
    """Published when the edge begins, and anew when something in it has changed. One thread at a time."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings
        self._topic = topics.topic(settings.deployment, settings.device, topics.Kind.BIRTH)
        self._said: tuple[object, ...] = ()

    def announce(self, sending: Sending, condition: Condition, more: Mapping[str, object]) -> None:
        """Nothing if it was said before; at the next look if there is no room for it now."""
        saying = (sending, condition, more)
        if saying != self._said and self._transport.try_publish(
            self._topic, self._words(sending, condition, more), qos=1, retain=True
        ):
            self._said = saying

    def _words(self, sending: Sending, condition: Condition, more: Mapping[str, object]) -> bytes:
        settings = self._settings
        fields = sending.as_json() | {
            "boot": f"{settings.boot:016x}",
            "accelerator": condition.as_json(),
            "delivery": settings.delivery.value,
            "until": settings.until.value,
        }
        return json.dumps({**fields, **more}).encode()
