"""Finds devices: those of a list, of a group, or all that have left a birth at the broker."""

import hashlib
import logging
import time
from collections.abc import Sequence

from broker.messages import topics
from broker.rollout import devices
from broker.rollout.devices import Roster
from broker.transport.protocol import Transport
from tflsplit import errors

log = logging.getLogger(__name__)

# A broker does not say when it has sent all that it retains: it is silent then.
_QUIET_S = 1.0
# A device that is just starting leaves its birth within this.
LONGEST_S = 10.0
# What is retained of a list comes right behind the broker's word that it is subscribed to.
LIST_S = 3.0
_LOOK_S = 0.2


def named(transport: Transport, deployment: str, names: Sequence[str], *, wait_s: float = LONGEST_S) -> Roster:
    """These devices; of those that are unknown after `wait_s` nothing is in the roster. All stay subscribed to."""
    roster = Roster(deployment)
    for name in names:
        for kind in devices.RETAINED:
            transport.subscribe(topics.topic(deployment, name, kind))
            _take(transport, roster, 0.0)
    give_up_s = time.monotonic() + wait_s
    while not roster.born >= set(names) and time.monotonic() < give_up_s:
        _take(transport, roster, _LOOK_S)
    return roster


def every(transport: Transport, deployment: str) -> Roster:
    """All devices that have left a birth. The births, which are long, come last: a broker drops what has no room."""
    roster = Roster(deployment)
    for kind in devices.RETAINED:
        transport.subscribe(topics.every_device(deployment, kind))
        quiet_since_s = time.monotonic()
        while time.monotonic() - quiet_since_s < _QUIET_S:
            if _take(transport, roster, _LOOK_S):
                quiet_since_s = time.monotonic()
    return roster


def selected(roster: Roster, group: str | None) -> tuple[str, ...]:
    """The devices of a group, or all, that take updates. The first of them, which are the canary, are of any kind: the
    order has nothing to do with the names. SettingsError if there are none."""
    names = [name for name in roster.known if group is None or roster.groups[name] == group]
    if roster.unfit:
        log.warning("left out, for they take no updates devices=%s", devices.some(sorted(roster.unfit)))
    if not names:
        groups = sorted({each for each in roster.groups.values() if each is not None})
        known = f"the groups are {devices.some(groups)}" if groups else "no device has a group"
        of_group = "" if group is None else f" of group {group!r}"
        more = "" if group is None else f"; {known}"
        raise errors.SettingsError(
            f"deployment {roster.deployment!r}: no device{of_group} takes updates{more}; start edges with --update-key"
        )
    return tuple(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest()))


def one(transport: Transport, deployment: str, name: str, *, wait_s: float) -> Roster:
    """One device. PeerError if it was never there, with those that were, or if it takes no updates."""
    roster = named(transport, deployment, [name], wait_s=wait_s)
    if not roster.has_birth(name):
        others = every(transport, deployment)
        forget(transport, deployment)
        raise errors.PeerError(
            f"device {name!r} of {deployment!r} was never there: it has left no birth; {others.others(name)}"
        )
    roster.device(name)
    if absence := roster.absence(name):
        log.warning("the offer waits until the device is back device=%s reason=%r", name, absence)
    return roster


def forget(transport: Transport, deployment: str, names: Sequence[str] | None = None) -> None:
    """Ends the subscriptions to what is retained of these devices, or of all."""
    for kind in devices.RETAINED:
        if names is None:
            transport.unsubscribe(topics.every_device(deployment, kind))
        for name in names or ():
            transport.unsubscribe(topics.topic(deployment, name, kind))


def _take(transport: Transport, roster: Roster, timeout_s: float) -> bool:
    message = transport.receive(timeout_s)
    while message is not None:
        roster.take(message)
        transport.acknowledge(message)
        waiting = transport.receive(0.0)
        if waiting is None:
            return message.retained
        message = waiting
    return False
