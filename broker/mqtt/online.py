"""A connection that says on a retained status topic who is there: what every edge and every cloud has over MQTT."""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

from broker.messages import topics
from broker.messages.presence import Presence
from broker.mqtt.transport import MqttTransport
from broker.transport import protocol
from broker.transport.address import Address, Credentials
from broker.transport.protocol import ConnectionState
from tflsplit import errors

# How long the end waits for a broker that is away, to hand it what is left.
_AWAY_S = 1.0
# How long a service that comes up with the machine waits for its broker before it says that it runs without.
_FIRST_ATTEMPT_S = 5.0
_LOOK_S = 0.05

# A ping after so long without a message: a lost connection is noticed after one and a half of it.
KEEPALIVE_S = 20
QUICK_KEEPALIVE_S = 5  # for who is missed within seconds, over a link on which pings cost nothing

# The frames that a cloud holds (`broker.cloud.turns.shares`), and some to refuse: what the broker may not send yet
# waits there behind those of whoever floods.
_CLOUD_INBOX = 1024 + 256


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
    keepalive_s: int = KEEPALIVE_S,
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
        says_again=is_cloud,
        limits=protocol.Limits(inbox_messages=_CLOUD_INBOX) if is_cloud else None,
        presence=None if is_second else Presence(topics.topic(deployment, name, topics.Kind.STATUS), boot),
    )
    with made:
        if waits:
            made.connect(waits_for_clock=True)
        else:
            made.begin()
            _wait_for_an_outcome(made)
            _check_open(made, where)
        try:
            yield made
            _check_open(made, where)
        finally:
            if made.state in (ConnectionState.CONNECTING, ConnectionState.WAITING):
                made.close(timeout_s=_AWAY_S)  # else it would be waited for, who may be away for long


def _wait_for_an_outcome(made: MqttTransport) -> None:
    """Of the first attempt, if it does not take long."""
    give_up_s = time.monotonic() + _FIRST_ATTEMPT_S
    while made.state in (ConnectionState.NEW, ConnectionState.CONNECTING) and time.monotonic() < give_up_s:
        made.wait_for(ConnectionState.ONLINE, _LOOK_S)


def _check_open(made: MqttTransport, where: Address) -> None:
    if made.state is ConnectionState.CLOSED:
        raise errors.BrokerError(f"broker {where}: {made.last_failure}")
