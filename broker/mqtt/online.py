"""A connection that says on a retained status topic who is there: what every edge and every cloud has over MQTT."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from broker.messages import topics
from broker.messages.presence import Presence
from broker.mqtt.transport import MqttTransport
from broker.transport import online
from broker.transport.address import Address, Credentials
from broker.transport.protocol import Transport
from tflsplit.values.classes import replace

if TYPE_CHECKING:  # a device has one
    from broker.several.transport import Several

# Of a cloud at several brokers: more than it can hold of frames, so that one that hangs holds up no others' results.
_SEVERAL_LIMITS = replace(online.CLOUD_LIMITS, outbox_messages=8192)


def client_id(deployment: str, name: str) -> str:
    """For a session that ends with its connection. No broker that asks for certificates binds ids to them, and whoever
    takes another's id disconnects it: so none can be guessed, not even from the boot in the retained status."""
    return f"tflsplit-{deployment}-{name}-{secrets.token_hex(8)}"


@contextmanager
def connected(
    where: Sequence[Address],
    credentials: Credentials,
    speaker: tuple[str, str],
    boot: int,
    *,
    is_second: bool = False,
    waits: bool = True,
    keepalive_s: int = online.KEEPALIVE_S,
    is_cloud: bool = False,
) -> Iterator[Transport]:
    """A transport that is online, and says so on the status topic of `speaker`, (deployment, name), until the block
    ends.

    `where` are the brokers that the speaker connects to; of several one is enough to begin with. A second connection of
    the same device says nothing: the first speaks for both. Where nobody `waits`, the transport
    may come online later; if it is refused instead it is closed, and BrokerError says so at the end of the block. A
    cloud says again what the broker may have lost, and has room for more messages.
    """
    deployment, name = speaker
    presence = None if is_second else Presence(topics.topic(deployment, name, topics.Kind.STATUS), boot)
    limits = online.CLOUD_LIMITS if len(where) == 1 else _SEVERAL_LIMITS

    def to(broker: Address) -> MqttTransport:
        return MqttTransport(
            broker,
            client_id=client_id(deployment, name),
            credentials=credentials,
            keepalive_s=keepalive_s,
            mark=topics.topic(deployment, name, topics.Kind.MARK) if is_cloud else None,
            limits=limits if is_cloud else None,
            presence=presence,
        )

    made = opened(where, to, speaker=name)
    if isinstance(made, MqttTransport):
        with online.held(made, f"broker {where[0]}", waits=waits) as held:
            yield held
    else:
        with made:
            made.connect(waits_for_clock=True)
            yield made


def opened(
    where: Sequence[Address], to: Callable[[Address], MqttTransport], *, speaker: str | None = None
) -> "MqttTransport | Several":
    """A transport to all of these brokers, not connected yet, out of one to each."""
    if len(where) == 1:
        return to(where[0])
    from broker.several.transport import Several

    return Several({str(each): to(each) for each in where}, speaker)
