"""A transport that is online as long as a block lasts, whatever it speaks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from broker.transport import protocol
from broker.transport.protocol import ConnectionState
from broker.transport.reconnecting import Reconnecting
from tflsplit import errors

_Made = TypeVar("_Made", bound=Reconnecting)

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
CLOUD_LIMITS = protocol.Limits(inbox_messages=1024 + 256)


@contextmanager
def held(made: _Made, peer: object, *, waits: bool) -> Iterator[_Made]:
    """Connects, and closes in the end. Where nobody `waits`, the transport may come online later; if it is refused
    instead it is closed, and BrokerError says so at the end of the block. `peer` is how it names the other side."""
    with made:
        if waits:
            made.connect(waits_for_clock=True)
        else:
            made.begin()
            _wait_for_an_outcome(made)
            _check_open(made, peer)
        try:
            yield made
            _check_open(made, peer)
        finally:
            if made.state in (ConnectionState.CONNECTING, ConnectionState.WAITING):
                made.close(timeout_s=_AWAY_S)  # else it would be waited for, who may be away for long


def _wait_for_an_outcome(made: Reconnecting) -> None:
    """Of the first attempt, if it does not take long."""
    give_up_s = time.monotonic() + _FIRST_ATTEMPT_S
    while made.state in (ConnectionState.NEW, ConnectionState.CONNECTING) and time.monotonic() < give_up_s:
        made.wait_for(ConnectionState.ONLINE, _LOOK_S)


def _check_open(made: Reconnecting, peer: object) -> None:
    if made.state is ConnectionState.CLOSED:
        raise errors.BrokerError(f"{peer}: {made.last_failure}")
