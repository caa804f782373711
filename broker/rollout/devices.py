"""The devices of a rollout as the messages that they left at the broker describe them: births and statuses."""

import contextlib
import datetime
import logging
from collections.abc import Collection
from typing import Any

from broker.messages import presence, topics
from broker.messages.presence import Status
from broker.messages.topics import Kind
from broker.transport.protocol import Message
from tflsplit import errors, strict_json, text
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, field

log = logging.getLogger(__name__)

RETAINED = (Kind.STATUS, Kind.BIRTH)
_MOST_NAMES = 20  # in a message
_ON_PROBATION = "probation"


@dataclass(frozen=True, slots=True)
class Device:
    """A device by its retained birth: its cut, and in `serial` the last offer it accepted, which is in `update`, a word
    of `broker.messages.updates.State`. `candidates` are the ids of the cuts that it moves among, none where its cut
    stays."""

    name: str
    cut: str
    layer: str | None
    serial: int
    candidates: tuple[str, ...] = ()
    update: str | None = None

    def cut_in(self, whole: Package) -> Cut:
        """The device's cut in another package: after the same layer, otherwise of the same id. CutError if neither
        exists."""
        if self.layer is not None:
            with contextlib.suppress(errors.CutError):
                return whole.cut(self.layer)
        found = whole.cut(self.cut)
        if self.layer is not None:
            log.warning(
                "the model has no layer of the name that the device cuts after, its cut of the same id is taken; "
                "--cut says otherwise device=%s cut=%s layer=%r payload_bytes=%d",
                self.name,
                found.id,
                found.layer,
                found.payload_bytes,
            )
        return found


@dataclass(slots=True)
class Roster:
    """What is known of devices. `unfit` says of a device why it cannot be updated. Those `doubted` are away although
    they are said to be online: a broker that was killed says what it had saved last."""

    deployment: str
    known: dict[str, Device] = field(default_factory=dict)
    unfit: dict[str, errors.PeerError] = field(default_factory=dict)
    groups: dict[str, str | None] = field(default_factory=dict)
    statuses: dict[str, Status] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)

    def take(self, message: Message) -> None:
        """Any message; those that say nothing of this are passed over."""
        with contextlib.suppress(errors.FrameError):  # a damaged one says nothing
            topic = topics.parse(message.topic)
            if not message.retained:
                self.doubted.discard(topic.device)
            if topic.kind is Kind.STATUS and message.payload:
                found, before = presence.parse(message.payload), self.statuses.get(topic.device)
                if before is None or not found.is_late(before):
                    self.statuses[topic.device] = found
                    if found != before:
                        self.doubted.discard(topic.device)
            elif topic.kind is Kind.BIRTH and message.payload:
                self._take_birth(topic.device, message.payload)

    def _take_birth(self, name: str, payload: bytes) -> None:
        try:
            self.groups[name], self.known[name] = _told(name, payload)
            self.unfit.pop(name, None)
        except errors.PeerError as problem:
            self.known.pop(name, None)
            self.unfit[name] = problem

    @property
    def born(self) -> set[str]:
        return self.known.keys() | self.unfit.keys()

    def has_birth(self, name: str) -> bool:
        """As `born` has it, which is as long as the fleet: this is asked of each of thousands, many times a second."""
        return name in self.known or name in self.unfit

    def device(self, name: str) -> Device:
        """PeerError for one that takes no updates, or has left no birth."""
        if name in self.unfit:
            raise self.unfit[name]
        return self.known[name]

    def is_there(self, name: str) -> bool:
        """Whether it has left a birth, and has not said that it is offline."""
        status = self.statuses.get(name)
        is_said = self.has_birth(name) and (status is None or status.state == "online")
        return is_said and name not in self.doubted

    def may_be_offered(self, name: str, serial: int) -> bool:
        """Whether it is there, and does not try another model than that of `serial`: it would refuse ours."""
        told = self.known.get(name)
        return self.is_there(name) and (told is None or told.update != _ON_PROBATION or told.serial == serial)

    def absence(self, name: str) -> str | None:
        """Why a device is away, and since which of its starts, as its retained status has it; None if it is not."""
        status = self.statuses.get(name)
        if status is None or status.state == "online":
            return None
        how = "it was ended" if status.reason == "closed" else "its connection was lost"
        if status.since_ms is None:
            return f"it is offline: {how}"
        began = datetime.datetime.fromtimestamp(status.since_ms / 1e3, datetime.timezone.utc)
        return f"it is offline: {how}, some time after its last start at {began:%Y-%m-%d %H:%M:%S} UTC"

    def others(self, wanted: str) -> str:
        """Who has left a birth, for a message about somebody who has not."""
        if not self.born:
            return "nor has any other device: check --deployment"
        shown = some(sorted(self.born))
        return f"there are {shown}{text.meant(wanted, self.born)}"


def some(names: Collection[str]) -> str:
    """As many as a message holds, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(list(names)[:_MOST_NAMES]) + more


def _told(device: str, payload: bytes) -> tuple[str | None, Device]:
    """Its group, and the rest. PeerError if it takes no updates."""
    try:
        fields: Any = strict_json.parse(payload)
        cut, layer, group, update = fields["cut"], fields["layer"], fields.get("group"), fields.get("update")
        serial, state = (None, None) if update is None else (update["serial"], update.get("state"))
        candidates = tuple((fields.get("adapts") or {}).get("candidates", ()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
        raise errors.FrameError(f"birth of device {device!r} cannot be read ({cause!r})") from cause
    if serial is None:
        raise errors.PeerError(f"device {device!r} takes no updates: start its edge with --models and --update-key")
    is_readable = all(isinstance(each, str | None) for each in (layer, group, state)) and all(
        isinstance(each, str) for each in (cut, *candidates)
    )
    if type(serial) is not int or serial < 0 or not is_readable:
        raise errors.FrameError(f"birth of device {device!r} cannot be read: cut {cut!r}, serial {serial!r}")
    return group, Device(device, cut, layer, serial, candidates, state)
