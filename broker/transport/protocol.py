"""What the rest of the project knows of a message broker: one small protocol and the values that cross it.

`broker.mqtt.transport` speaks it over MQTT, `broker.transport.memory` inside one process. Nothing of a client
library may be named here.
"""

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Protocol

from broker.messages.presence import Presence
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.values.classes import dataclass, field


class ConnectionState(str, enum.Enum):
    """`WAITING` is between two attempts; `CLOSED` is for good."""

    NEW = "new"
    CONNECTING = "connecting"
    ONLINE = "online"
    WAITING = "waiting"
    CLOSED = "closed"


class Drop(str, enum.Enum):
    """Why a message was given up. All but `INBOX_FULL` are outgoing ones."""

    TOO_LARGE = "too_large"  # the limit shrank while it waited: a broker with another limit took over
    EXPIRED = "expired"
    REFUSED = "refused"  # the broker said so in its acknowledgement
    HUNG_UP_ON = "hung_up_on"  # the broker closes the connection whenever it is sent
    CONNECTION_LOST = "connection_lost"  # QoS 0, partly written
    CLOSED = "closed"  # still waiting when the deadline of `close` passed
    INBOX_FULL = "inbox_full"


@dataclass(slots=True)
class Counters:
    """A snapshot. `published` counts first sendings, `resent` those repeated after a reconnection, `acknowledged`
    what the broker took charge of at QoS 1, which is no receipt from any subscriber."""

    published: int = 0
    resent: int = 0
    acknowledged: int = 0
    received: int = 0
    reconnects: int = 0
    dropped: dict[Drop, int] = field(default_factory=lambda: dict.fromkeys(Drop, 0))

    def as_json(self) -> dict[str, object]:
        """What went wrong, for the summary at the end."""
        return {
            "reconnects": self.reconnects,
            "dropped": {reason.value: count for reason, count in self.dropped.items() if count},
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a transport holds. Outgoing messages count until the broker has them: at QoS 0 written to the
    socket, at QoS 1 acknowledged. `window` of these may be unacknowledged, fewer where the broker says so."""

    outbox_messages: int = 256
    outbox_bytes: int = 64 << 20
    window: int = 20  # what Mosquitto 2.0 offers; more would not be used
    inbox_messages: int = 256
    inbox_bytes: int = 256 << 20
    packet_bytes: int = 268_435_455  # the protocol's own cap; brokers have lower ones

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise errors.SettingsError(f"limit {name} is {getattr(self, name)}, expected at least 1")
        if max(self.window, self.inbox_messages) > 65_535:
            raise errors.SettingsError("limits window and inbox_messages are at most 65535, MQTT's own bound")


@dataclass(slots=True)
class Message:
    """What came in. `duplicate` is the broker's word about this hop only: frames are told apart by boot and sequence.
    `receipt` is for `acknowledge` and means nothing to anyone else. `arrived_at_s` is by the monotonic clock."""

    topic: str
    payload: bytes
    qos: int = 0
    retained: bool = False
    duplicate: bool = False
    receipt: tuple[int, int] = (0, 0)
    arrived_at_s: float = 0.0


class Transport(Protocol):
    """A connection that comes back by itself. Every method may be called from any thread.

    Incoming messages wait in a bounded inbox until `receive` takes them; no code of the caller runs on the network
    thread. At QoS 0 the inbox takes `inbox_messages`. At QoS 1 a broker of MQTT 5 is asked to send no more than that
    many before they are acknowledged, and what it sends all the same is taken up to `inbox_bytes`. What finds the inbox
    full is dropped and counted.
    """

    @property
    def state(self) -> ConnectionState: ...

    @property
    def counters(self) -> Counters: ...

    @property
    def reconnects(self) -> int:
        """As in `counters`, without a copy of all of them: for whoever looks at every frame."""

    @property
    def refused(self) -> int:
        """Messages dropped as `Drop.REFUSED`, likewise."""

    @property
    def last_failure(self) -> str | None:
        """Why the connection was last lost or not made; None if it never was, or that is not known."""

    @property
    def absent(self) -> str | None:
        """Of several brokers those that are away, with their share of the devices and why; None where none is, and
        where there is only one: `state` tells of that."""

    @property
    def is_away(self) -> Mapping[str, bool]:
        """Of several brokers by their names whether each is away; empty where there is only one."""

    def reaches(self, device: str) -> bool:
        """Whether the broker that a device is at, of several, is not away."""

    @property
    def max_packet_bytes(self) -> int:
        """The largest packet that may be published now: our limit or the broker's, whichever is lower."""

    def connect(self, *, timeout_s: float = 10.0, keep_trying: bool = False) -> None:
        """Returns once online. BrokerError at the first failure, or with `keep_trying` at a refusal or after
        `timeout_s`; the transport is closed then."""

    def publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        timeout_s: float = math.inf,
    ) -> None:
        """Takes the message in charge, waiting for room up to `timeout_s`; BrokerError if there is none by then, if the
        packet is larger than `max_packet_bytes`, or if the transport is closed. Being offline is no error: the message
        waits. `payload` must not change afterwards. `expiry_s` costs a fifth of the message rate."""

    def try_publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        then: tuple[str, feature_codec.Buffer] | None = None,
        done: Iterable[Message] = (),
    ) -> bool:
        """`publish` that never waits: False where there is no room. `then` is another topic and payload, published once
        the broker has this one, and given up with it. What is `done` with it is acknowledged after it, as by
        `acknowledge`, and in the same write where that can be."""

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        """Returns once granted, and is renewed at each reconnection. BrokerError if refused or not granted in time."""

    def unsubscribe(self, topic_filter: str, *, timeout_s: float = 10.0) -> None:
        """Returns once the broker sends no more of it, or at once where there is no connection: it is not renewed then.
        What came before waits in the inbox. BrokerError if the broker does not answer in time."""

    def receive(self, timeout_s: float) -> Message | None:
        """The oldest waiting message, or None after `timeout_s` and when the transport is closed."""

    def set_aside(self, ending: str) -> None:
        """Messages on topics that end so wait from now on for `receive_aside`, which another thread may call: whoever
        is busy with frames holds them up no longer. For QoS 0."""

    def receive_aside(self, timeout_s: float) -> Message | None:
        """The same of what is set aside."""

    def acknowledge(self, message: Message, *, after_published: bool = False) -> None:
        """Tells the broker that a QoS 1 message is done with; each must be, in any order, or the broker stops
        delivering. With `after_published` it is told after all that was published before this call, so that no answer
        is lost behind its acknowledgement. Nothing for QoS 0, or if the connection it came by is gone (the broker will
        deliver it again)."""

    def say_online(self) -> Presence | None:
        """Says our status again, if we are online; the presence that it is of, None where there is none."""

    def flush(self, timeout_s: float) -> bool:
        """Waits until nothing outgoing is held; False if some still is after `timeout_s`."""

    def wait_for(self, state: ConnectionState, timeout_s: float) -> bool:
        """Whether the connection was seen in `state` within `timeout_s`."""

    def close(self, *, timeout_s: float = 5.0) -> None:
        """Sends what is held, up to `timeout_s`, says goodbye and stops; what could not be sent is counted."""


def publish_packet_bytes(topic: str, payload_bytes: int, *, qos: int, expires: bool) -> int:
    """The size of an MQTT PUBLISH packet as a broker counts it. For 3.1.1 this is one byte too many."""
    remaining = 2 + len(topic.encode()) + (2 if qos else 0) + (6 if expires else 1) + payload_bytes
    length_bytes = 1 + (remaining >= 1 << 7) + (remaining >= 1 << 14) + (remaining >= 1 << 21)
    return 1 + length_bytes + remaining


def check_packet(topic: str, packet_bytes: int, *, limit_bytes: int) -> None:
    if packet_bytes > limit_bytes:
        raise errors.BrokerError(
            f"message on {topic} makes a packet of {packet_bytes} bytes, the limit is {limit_bytes}: "
            "choose a cut with a smaller payload, send in chunks, or raise the broker's limit"
        )
