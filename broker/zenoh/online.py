"""A member that says on its retained status topic who it is, as `broker.mqtt.online` does it over a broker."""

from collections.abc import Iterator
from contextlib import contextmanager

from broker.messages import topics
from broker.messages.presence import Presence
from broker.transport import online
from broker.transport.address import Address, Credentials
from broker.zenoh.address import Meeting
from broker.zenoh.transport import ZenohTransport
from tflsplit.values.classes import replace

# What is listened at on all addresses is reached here.
_ANY, _HERE = ("0.0.0.0", "::"), "127.0.0.1"  # noqa: S104 - compared, not listened at


@contextmanager
def connected(
    meeting: Meeting,
    credentials: Credentials,
    speaker: tuple[str, str],
    boot: int,
    *,
    is_second: bool = False,
    waits: bool = True,
    keepalive_s: int = online.KEEPALIVE_S,
    is_cloud: bool = False,
) -> Iterator[ZenohTransport]:
    """A transport that is online, and says so on the status topic of `speaker`, (deployment, name), until the block
    ends. A second one of the same member says nothing, and listens at no address: it connects to the first, too."""
    deployment, name = speaker
    made = ZenohTransport(
        _beside(meeting) if is_second else meeting,
        deployment=deployment,
        name=name,
        credentials=credentials,
        keepalive_s=keepalive_s,
        limits=online.CLOUD_LIMITS if is_cloud else None,
        presence=None if is_second else Presence(topics.topic(deployment, name, topics.Kind.STATUS), boot),
    )
    with online.held(made, f"direct link {meeting}", waits=waits) as held:
        yield held


def _beside(meeting: Meeting) -> Meeting:
    return replace(meeting, at=(*meeting.at, *map(_reached_here, meeting.listens)), listens=())


def _reached_here(listens: Address) -> Address:
    return replace(listens, host=_HERE) if listens.host in _ANY else listens
