"""Publishes frames: one packet each, or chunks if the broker takes no packet that large."""

import logging
from collections.abc import Callable

from broker.messages import topics
from broker.transport.name_clash import NameClash
from broker.transport.protocol import ConnectionState, Transport, publish_packet_bytes
from edge_runtime.delivery.settings import Settings
from tflsplit import errors

log = logging.getLogger(__name__)

# How long to wait for room in the transport's queue before asking again whether to stop.
_LOOK_S = 0.01


class Publisher:
    """Frames of one device. Any thread may send. `may_send` waits up to so many seconds, and says if they may go."""

    def __init__(
        self, transport: Transport, settings: Settings, may_send: Callable[[float], bool] = lambda timeout_s: True
    ) -> None:
        self._may_send = may_send
        self.names = NameClash(transport, settings.deployment, settings.device, settings.boot)
        self._transport = transport
        self._topic = topics.topic(settings.deployment, settings.device, topics.Kind.FEATURES)
        self.hears = [topics.every_device(settings.deployment, topics.Kind.SERVES)]
        self._answers = topics.topic(settings.deployment, settings.device, settings.answers)
        self._qos = settings.frame_qos
        self._is_subscribed = False
        # Beyond a frame's own bytes, with and without an expiry.
        self._overheads = tuple(
            publish_packet_bytes(self._topic, 0, qos=self._qos, expires=expires) + 3 for expires in (False, True)
        )

    @property
    def is_online(self) -> bool:
        return self._transport.state is ConnectionState.ONLINE

    def wait_until_online(self, timeout_s: float) -> bool:
        return self._transport.wait_for(ConnectionState.ONLINE, timeout_s)

    def wait_until_answerable(self, timeout_s: float) -> bool:
        """Whether frames may be sent: answers can reach us, for which we subscribe if need be, and the clouds are those
        that were wished for. For one thread.

        BrokerError if the broker refuses the subscription or the connection.
        """
        if self._is_subscribed:
            return self._may_send(timeout_s)
        if not self.wait_until_online(timeout_s) and self._transport.state is not ConnectionState.CLOSED:
            return False
        try:
            self._transport.subscribe(self._answers, qos=self._qos)
        except errors.BrokerError:
            if self._transport.state in (ConnectionState.ONLINE, ConnectionState.CLOSED):
                raise
            return False
        self._is_subscribed = True
        # Last, and not to be tried again: a broker may hang up on who may not listen.
        self._listen()
        return self._may_send(timeout_s)

    def _listen(self) -> None:
        """To others of our name, and to what clouds announce and whatever else is in `hears`.

        A broker whose rules are older does not let us: then the former go unnoticed, and frames are sent again later.
        """
        self.names.start()
        for topic_filter in self.hears:
            try:
                self._transport.subscribe(topic_filter)
            except errors.BrokerError as problem:
                log.warning("clouds are not heard filter=%s reason=%s", topic_filter, problem)

    def try_send(self, encoded: bytes, *, expiry_s: float | None = None) -> bool:
        """False if the transport has no room for all of it; the cloud ignores an incomplete frame."""

        def publish(packets: list[bytes]) -> bool:
            return all(
                self._transport.try_publish(self._topic, packet, qos=self._qos, expiry_s=expiry_s) for packet in packets
            )

        return self._in_packets(encoded, publish, expires=expiry_s is not None)

    def send(self, encoded: bytes, *, until: Callable[[], bool]) -> bool:
        """Waits for room; False if `until()` is true before there is room."""

        def publish(packets: list[bytes]) -> bool:
            for packet in packets:
                while not self._transport.try_publish(self._topic, packet, qos=self._qos):
                    if until():
                        return False
                    self._transport.flush(_LOOK_S)
            return True

        return self._in_packets(encoded, publish, expires=False)

    def _in_packets(self, encoded: bytes, publish: Callable[[list[bytes]], bool], *, expires: bool) -> bool:
        while True:
            limit_bytes = self._transport.max_packet_bytes
            try:
                return publish(_packets(encoded, limit_bytes - self._overheads[expires]))
            except errors.BrokerError:
                # After a reconnection the broker may take smaller packets than before.
                if self._transport.max_packet_bytes == limit_bytes:
                    raise


def _packets(encoded: bytes, max_bytes: int) -> list[bytes]:
    if len(encoded) <= max_bytes:
        return [encoded]
    from broker.messages import chunks  # most edges never send any

    return chunks.split(encoded, max_bytes)
