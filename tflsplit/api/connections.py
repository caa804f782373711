"""What an edge, a cloud or a worker speaks over: MQTT, direct links, or a broker in this process."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from broker.messages import topics
from broker.messages.presence import Presence
from broker.transport import address, online, protocol
from broker.transport import credentials as transport_credentials
from broker.transport.address import Address, Credentials
from broker.transport.credentials import Role
from broker.transport.memory import MemoryBroker, MemoryTransport
from broker.transport.protocol import Transport
from broker.zenoh import address as direct_address
from broker.zenoh import settings as direct_settings
from broker.zenoh.address import Meeting
from tflsplit import arguments, errors
from tflsplit.arguments import PathLike

if TYPE_CHECKING:  # a cloud has no source
    from edge_runtime.sources import topic
    from edge_runtime.sources.words import Subscription

# Of a topic: so many wait for a slow head. Beyond them what comes is lost, and counted.
_PICTURES = protocol.Limits(inbox_messages=64, inbox_bytes=64 << 20)

Reached = MemoryBroker | tuple[tuple[Address, ...], Credentials] | tuple[Meeting, Credentials]


def speaker(deployment: str | None, name: str | None, what: str, credentials: PathLike | None) -> tuple[str, str]:
    """(deployment, name) of who connects: what is not given is what the folder of credentials says. SettingsError if
    that is not given either; `what` is the name's argument."""
    given = (deployment, name)
    if None in given and credentials is not None:
        bundle = transport_credentials.open_bundle(arguments.path(credentials, "credentials"))
        given = (bundle.deployment if deployment is None else deployment, bundle.name if name is None else name)
    if None in given:
        missing = "deployment" if given[0] is None else what
        raise errors.SettingsError(f"{missing} is not given, and no credentials either, which would name it")
    return arguments.text(given[0], "deployment"), arguments.text(given[1], what)


def reached(
    broker: str | Sequence[str] | MemoryBroker | None,
    credentials: PathLike | None,
    name: tuple[str, str],
    role: Role,
) -> Reached:
    """How the speaker with that (deployment, name) reaches the broker: at its address, or as its credentials say. Of
    several a device has its own."""
    topics.check_name("deployment", name[0])
    topics.check_name("device", name[1])
    if isinstance(broker, MemoryBroker):
        return broker
    if isinstance(broker, str) and address.is_direct(broker):
        return _direct(direct_address.parse(broker), credentials, name, role)
    if credentials is not None:
        folder = arguments.path(credentials, "credentials")
        return transport_credentials.of_speaker(folder, name, role=role, urls=_urls(broker) if broker else ())
    return transport_credentials.chosen(address.parse_all(_urls(broker)), name, role), Credentials()


def _urls(broker: str | Sequence[str] | None) -> Sequence[str]:
    urls = (broker,) if isinstance(broker, str) else broker
    if not isinstance(urls, list | tuple) or not urls:
        raise arguments.wrong("broker", broker, "an address as mqtt://localhost, a list of them, or a MemoryBroker")
    return urls


def _direct(
    meeting: Meeting, credentials: PathLike | None, name: tuple[str, str], role: Role
) -> tuple[Meeting, Credentials]:
    proof = Credentials()
    if credentials is not None:
        folder = arguments.path(credentials, "credentials")
        proof = transport_credentials.open_for(folder, name, role=role).credentials
    direct_settings.check(meeting, proof)
    return meeting, proof


@contextmanager
def connected(
    broker: Reached, name: tuple[str, str], boot: int, *, is_quick: bool, is_cloud: bool = False
) -> Iterator[Transport]:
    """A transport that is online until the block ends, and says so on the speaker's status topic.

    A lost connection of one that `is_quick` is noticed within seconds. A cloud says its last results again where the
    broker may have lost them.
    """
    if isinstance(broker, MemoryBroker):
        presence = Presence(topics.topic(*name, topics.Kind.STATUS), boot)
        with MemoryTransport(broker, client_id="/".join(name), presence=presence) as made:
            made.connect()
            yield made
        return
    where, proof = broker
    keepalive_s = online.QUICK_KEEPALIVE_S if is_quick else online.KEEPALIVE_S
    with contextlib.ExitStack() as stack:
        if isinstance(where, Meeting):
            from broker.zenoh import online as zenoh_online

            direct = zenoh_online.connected(where, proof, name, boot, keepalive_s=keepalive_s, is_cloud=is_cloud)
            yield stack.enter_context(direct)
        else:
            from broker.mqtt import online as mqtt_online

            over_mqtt = mqtt_online.connected(where, proof, name, boot, keepalive_s=keepalive_s, is_cloud=is_cloud)
            yield stack.enter_context(over_mqtt)


def of_pictures(own: Callable[[], Reached] | None, name: tuple[str, str], *, waits: bool = True) -> "topic.Connect":
    """How a source reads pictures of a topic, on a connection beside that of the edge or worker called `name`, or where
    the program has no broker of its `own`. Where nobody `waits`, it may come online later."""

    def connect(wanted: "Subscription") -> Transport:
        if wanted.broker is not None:
            reached: Reached = ((address.parse(wanted.broker),), Credentials(wanted.password))
        elif own is None:
            raise errors.SettingsError(
                f"source topic:{wanted.topic}: there is no broker here; give its address, mqtt://HOST/{wanted.topic}"
            )
        else:
            reached = own()
        return _second(reached, name, waits=waits or wanted.broker is not None)

    return connect


def _second(reached: Reached, name: tuple[str, str], *, waits: bool) -> Transport:
    if isinstance(reached, MemoryBroker):
        over_memory = MemoryTransport(reached, client_id=f"{'/'.join(name)}/{secrets.token_hex(8)}")
        over_memory.connect()
        return over_memory
    where, proof = reached
    if isinstance(where, Meeting):
        raise errors.SettingsError(
            "source topic:…: a direct link has no topics; give a broker's address, mqtt://HOST/…"
        )
    from broker.mqtt import online as mqtt_online
    from broker.mqtt.transport import MqttTransport

    (broker,) = where
    proof.check_fit(broker)
    made = MqttTransport(broker, client_id=mqtt_online.client_id(*name), credentials=proof, limits=_PICTURES)
    if waits:
        made.connect(waits_for_clock=True)
    else:
        made.begin()
    return made


def shown(broker: Reached) -> str:
    if isinstance(broker, MemoryBroker):
        return "memory"
    where = broker[0]
    return ", ".join(map(str, where)) if isinstance(where, tuple) else str(where)
