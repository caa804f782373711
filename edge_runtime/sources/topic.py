"""Pictures that come as messages on a topic, each the bytes of a picture file, as Frigate and cameras publish them.

Nothing here knows MQTT: whoever opens the source gives the connection.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator

from broker.transport.protocol import ConnectionState, Drop, Message, Transport
from edge_runtime.sources.captured import Capture
from edge_runtime.sources.words import Subscription
from tflsplit import errors
from tflsplit.inputs import pictures

_log = logging.getLogger(__name__)

LOOK_S = 0.25
_SILENT_S = 30.0  # without a first picture: brokers do not say that a right is lacking
_SOME_TOPICS = 1024  # whose last picture is known; a filter may match any number


Connect = Callable[[Subscription], Transport]


class Subscribed:
    """The pictures of a topic, in their order. A retained message is taken as any other, but not again when the
    connection comes back; what is no picture counts as `no_picture`, what the inbox had no room for as `topic_full`,
    and a connection that was lost as `stream_lost`."""

    def __init__(self, transport: Transport, wanted: Subscription, shown: str) -> None:
        self._transport, self._wanted, self._shown = transport, wanted, shown
        self._last: dict[str, bytes] = {}  # digests of what each topic said last
        self._lost = self._full = 0
        self._is_closed = self._is_told = self._has_warned = False

    def captures(self, drop: Callable[[str], None]) -> Iterator[Capture | None]:
        """None where there is none. DeviceError if the broker refuses us."""
        while not self._transport.wait_for(ConnectionState.ONLINE, LOOK_S):
            self._check_open()
            yield None
        try:
            self._transport.subscribe(self._wanted.topic)
        except errors.BrokerError as refused:
            raise errors.DeviceError(f"{self._shown}: {refused}") from refused
        since_s = time.monotonic()
        while not self._is_closed:
            message = self._transport.receive(LOOK_S)
            self._count(drop)
            if message is None:
                self._check_open()
                self._tell_silence(since_s)
                yield None
                continue
            self._transport.acknowledge(message)
            if (taken := self._taken(message, drop)) is not None:
                yield taken

    def close(self) -> None:
        self._is_closed = True
        self._transport.close(timeout_s=0.0)

    def _taken(self, message: Message, drop: Callable[[str], None]) -> Capture | None:
        if self._is_repeated(message) or not message.payload:  # an empty one takes the retained one away
            return None
        arrived_ns = time.time_ns()
        try:
            picture = pictures.opened(message.payload, message.topic)
        except errors.DataError:
            drop("no_picture")
            if not self._is_told:
                self._is_told = True
                known = (message.topic, len(message.payload), message.payload[:8])
                _log.warning("message is no picture, others are counted only topic=%r bytes=%d begins=%r", *known)
            return None
        return Capture(picture, arrived_ns, message.arrived_at_s or time.monotonic())

    def _is_repeated(self, message: Message) -> bool:
        digest = hashlib.blake2b(message.payload, digest_size=16).digest()
        before = self._last.pop(message.topic, None)
        self._last[message.topic] = digest
        if len(self._last) > _SOME_TOPICS:
            del self._last[next(iter(self._last))]
        return message.retained and digest == before

    def _count(self, drop: Callable[[str], None]) -> None:
        for _ in range(self._transport.reconnects - self._lost):
            self._lost += 1
            drop("stream_lost")
        full = self._transport.counters.dropped[Drop.INBOX_FULL]
        for _ in range(full - self._full):
            drop("topic_full")
        self._full = full

    def _check_open(self) -> None:
        if self._transport.state is ConnectionState.CLOSED and not self._is_closed:
            raise errors.DeviceError(f"{self._shown}: {self._transport.last_failure}")

    def _tell_silence(self, since_s: float) -> None:
        """Nothing says that a right is lacking: Mosquitto grants every subscription, and then delivers nothing."""
        if self._last or self._has_warned or time.monotonic() - since_s < _SILENT_S:
            return
        self._has_warned = True
        _log.warning(
            "no message yet source=%r remedy=%r",
            self._shown,
            "is it published there, and may this client read it? `tflsplit broker allow DIR NAME --read TOPIC` lets it",
        )
