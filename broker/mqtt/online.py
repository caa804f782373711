"""A connection that says on a retained status topic who is there: what every edge and every cloud has over MQTT."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from broker.messages import topics
from broker.messages.presence import Presence
from broker.mqtt.transport import MqttTransport
from broker.transport import online
from broker.transport.address import Address, Credentials


def client_id(deployment: str, name: str) -> str:
    """For a session that ends with its connection. No broker that asks for certificates binds ids to them, and whoever
    takes another's id disconnects it: so none can be guessed, not even from the boot in the retained status."""
    return f"tflsplit-{deployment}-{name}-{secrets.token_hex(8)}"


@contextmanager
def connected(
    where: Address,
    credentials: Credentials,
    speaker: tuple[str, str],
    boot: int,
    *,
    is_second: bool = False,
    waits: bool = True,
    keepalive_s: int = online.KEEPALIVE_S,
    is_cloud: bool = False,
) -> Iterator[MqttTransport]:
    """A transport that is online, and says so on the status topic of `speaker`, (deployment, name), until the block
    ends.

    A second connection of the same device says nothing: the first speaks for both. Where nobody `waits`, the transport
    may come online later; if it is refused instead it is closed, and BrokerError says so at the end of the block. A
    cloud says again what the broker may have lost, and has room for more messages.
    """
    deployment, name = speaker
    made = MqttTransport(
        where,
        client_id=client_id(deployment, name),
        credentials=credentials,
        keepalive_s=keepalive_s,
        mark=topics.topic(deployment, name, topics.Kind.MARK) if is_cloud else None,
        limits=online.CLOUD_LIMITS if is_cloud else None,
        presence=None if is_second else Presence(topics.topic(deployment, name, topics.Kind.STATUS), boot),
    )
    with online.held(made, f"broker {where}", waits=waits) as held:
        yield held
