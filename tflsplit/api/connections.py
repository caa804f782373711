"""The broker that an edge or a cloud speaks over: MQTT, or one in this process."""

from collections.abc import Iterator
from contextlib import contextmanager

from broker.messages import topics
from broker.messages.presence import Presence
from broker.transport import address
from broker.transport import credentials as transport_credentials
from broker.transport.address import Address, Credentials
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import Transport
from tflsplit import arguments
from tflsplit.arguments import PathLike

Reached = MemoryBroker | tuple[Address, Credentials]


def reached(broker: str | MemoryBroker | None, credentials: PathLike | None, speaker: tuple[str, str]) -> Reached:
    """How `speaker`, (deployment, name), reaches the broker: at its address, or as the folder of credentials says."""
    topics.check_name("deployment", speaker[0])
    topics.check_name("device", speaker[1])
    if isinstance(broker, MemoryBroker):
        return broker
    if credentials is not None:
        folder = arguments.path(credentials, "credentials")
        return transport_credentials.of_speaker(folder, speaker, url=broker)
    if not isinstance(broker, str):
        raise arguments.wrong("broker", broker, "an address as mqtt://localhost, or a MemoryBroker")
    return address.parse(broker), Credentials()


@contextmanager
def connected(
    broker: Reached, speaker: tuple[str, str], boot: int, *, is_quick: bool, is_cloud: bool = False
) -> Iterator[Transport]:
    """A transport that is online until the block ends, and says so on the speaker's status topic.

    A lost connection of one that `is_quick` is noticed within seconds. A cloud says its last results again where the
    broker may have lost them.
    """
    if isinstance(broker, MemoryBroker):
        presence = Presence(topics.topic(*speaker, topics.Kind.STATUS), boot)
        with MemoryTransport(broker, client_id="/".join(speaker), presence=presence) as made:
            made.connect()
            yield made
        return
    from broker.mqtt import online

    keepalive_s = online.QUICK_KEEPALIVE_S if is_quick else online.KEEPALIVE_S
    with online.connected(*broker, speaker, boot, keepalive_s=keepalive_s, is_cloud=is_cloud) as over_mqtt:
        yield over_mqtt


def shown(broker: Reached) -> str:
    return "memory" if isinstance(broker, MemoryBroker) else str(broker[0])
