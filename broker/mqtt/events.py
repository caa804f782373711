"""What comes of a connection, beside the messages."""

from broker.transport.protocol import Message
from broker.transport.state import Lost
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Accepted:
    """CONNACK. The limits are None where the broker named none."""

    session_present: bool
    receive_maximum: int | None
    max_packet_bytes: int | None


@dataclass(slots=True)
class Acknowledged:
    """PUBACK; `refusal` is the reason why the broker did not take the message, if it did not."""

    mid: int
    refusal: str | None
    is_size: bool = False  # it was too large


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker's answer to a subscription or to the end of one."""

    mid: int
    refusal: str | None


Event = Accepted | Acknowledged | Subscribed | Message | Lost
