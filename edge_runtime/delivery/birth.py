"""The retained `birth` of a device: what it sends, what computes it, and with which delivery guarantees."""

import json
import logging
from collections.abc import Mapping

from broker.messages import topics
from broker.transport.protocol import Transport, publish_packet_bytes
from edge_runtime.accelerators.service import Condition
from edge_runtime.delivery.framing import Sending
from edge_runtime.delivery.settings import Settings
from tflsplit.kernels.heads import HeadKernels

log = logging.getLogger(__name__)


class Birth:
    """Published at the start, after each new connection, and whenever its contents change. One thread at a time."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings
        self._topic = topics.topic(settings.deployment, settings.device, topics.Kind.BIRTH)
        self._published: tuple[object, ...] = ()

    def again(self) -> None:
        """The next `announce` publishes, for a cloud that has come: not every broker gives it what it retains."""
        self._published = ()

    def announce(
        self, sending: Sending, condition: Condition, kernels: HeadKernels, more: Mapping[str, object]
    ) -> None:
        """Publishes a change; if the transport has no room now, the next call does."""
        # A broker that restarted may have forgotten it.
        contents = (sending, condition, kernels, more, self._transport.reconnects)
        if contents == self._published:
            return
        payload = self._as_json(sending, condition, kernels, more)
        room_bytes = self._transport.max_packet_bytes
        if kernels.kernel_class and publish_packet_bytes(self._topic, len(payload), qos=1, expires=False) > room_bytes:
            log.warning("birth without kernel class reason=the broker takes packets of %d bytes at most", room_bytes)
            payload = self._as_json(sending, condition, HeadKernels(None, kernels.kinds), more)
        if self._transport.try_publish(self._topic, payload, qos=1, retain=True):
            self._published = contents

    def _as_json(
        self, sending: Sending, condition: Condition, kernels: HeadKernels, more: Mapping[str, object]
    ) -> bytes:
        settings = self._settings
        fields = sending.as_json() | {
            "boot": f"{settings.boot:016x}",
            "accelerator": condition.as_json(),
            "delivery": settings.delivery.value,
            "until": settings.until.value,
            "batch": settings.batch,
        }
        if settings.group is not None:
            fields["group"] = settings.group
        return json.dumps({**fields, **kernels.as_json(), **more}, separators=(",", ":")).encode()
