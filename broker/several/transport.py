"""The transport over several brokers, each of which has its devices: what comes is merged, what goes out goes where it
is heard.

A broker that is away stops its own devices only. Nothing here waits for it while others are online, and it is taken up
again when it is back. Each device's messages come by one broker, so their order is kept.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from broker.messages import presence, topics
from broker.messages.presence import Presence
from broker.several.statuses import Statuses
from broker.transport import address
from broker.transport.bounded_queues import Inbox
from broker.transport.protocol import ConnectionState, Counters, Drop, Message, Transport
from tflsplit import errors
from tflsplit.coding import feature_codec
from tflsplit.recent import Recent
from tflsplit.values.classes import fields, replace

_log = logging.getLogger(__name__)

_STATUS = f"/{topics.Kind.STATUS.value}"
# How long a start waits for a broker that does not answer at all, when others are there.
_SLOWEST_S = 5.0
# How long an end waits for one that is away, as `broker.transport.online` does.
_AWAY_S = 1.0
# Where 100,000 devices were heard; what Python needs for one.
_MOST_BYTES, _ENTRY_BYTES = 16 << 20, 160


class Member(Transport, Protocol):
    """What is asked of the transport to one of the brokers, beyond what all transports do."""

    @property
    def inboxes(self) -> tuple[Inbox, Inbox]: ...

    @property
    def is_refused(self) -> bool: ...

    @property
    def is_early(self) -> bool: ...

    def begin(self, *, insists: bool = False) -> None: ...

    def watch(self, changed: threading.Condition) -> None: ...

    def wish(self, topic_filter: str, *, qos: int = 1) -> None: ...


class _Merged:
    """Inboxes as one, in turn. One reader."""

    def __init__(self, inboxes: Sequence[Inbox]) -> None:
        self._inboxes = inboxes
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._turn = 0
        for inbox in inboxes:
            inbox.share(lock, self._changed)

    def take(self, timeout_s: float) -> tuple[int, Message] | None:
        """The place of the inbox, and its oldest message."""
        with self._changed:
            self._changed.wait_for(self._is_over, min(timeout_s, threading.TIMEOUT_MAX))
            for _ in self._inboxes:
                self._turn = (self._turn + 1) % len(self._inboxes)
                message = self._inboxes[self._turn].take(0.0)
                if message is not None:
                    return self._turn, message
            return None

    def _is_over(self) -> bool:
        return any(map(len, self._inboxes)) or all(inbox.is_closed for inbox in self._inboxes)


class Several:
    """`transport.Transport` over members by the names of their brokers, none of them connected yet. What is published
    on the topics of `speaker`, who is at all, goes to all; what is on those of a device to the broker where it was
    heard last, or that it is assigned to (`address.assigned`)."""

    def __init__(self, members: Mapping[str, Member], speaker: str | None = None) -> None:
        self._names, self._members = tuple(members), tuple(members.values())
        self._speaker = speaker
        self._inbox, self._aside = map(_Merged, zip(*(member.inboxes for member in self._members), strict=True))
        self._statuses = Statuses()
        self._heard: Recent[str, int] = Recent(_MOST_BYTES)
        self._lock = threading.Lock()  # guards writing to what was heard, and the next
        self._given_up = 0
        self._changed = threading.Condition()  # of what members change
        for member in self._members:
            member.watch(self._changed)

    def __enter__(self) -> "Several":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> ConnectionState:
        """That of the connection that is best off."""
        states = [member.state for member in self._members]
        if ConnectionState.ONLINE in states:
            return ConnectionState.ONLINE
        return next((state for state in states if state is not ConnectionState.CLOSED), ConnectionState.CLOSED)

    @property
    def counters(self) -> Counters:
        total = Counters()
        for counted in (member.counters for member in self._members):
            for name in (field.name for field in fields(Counters) if field.name != "dropped"):
                setattr(total, name, getattr(total, name) + getattr(counted, name))
            for why, count in counted.dropped.items():
                total.dropped[why] += count
        total.dropped[Drop.CONNECTION_LOST] += self._given_up
        return total

    @property
    def reconnects(self) -> int:
        return sum(member.reconnects for member in self._members)

    @property
    def refused(self) -> int:
        return sum(member.refused for member in self._members)

    @property
    def last_failure(self) -> str | None:
        return self.absent or next(filter(None, (member.last_failure for member in self._members)), None)

    @property
    def absent(self) -> str | None:
        away = [each for each in zip(self._names, self._members, strict=True) if not _is_online(each[1])]
        if not away:
            return None
        reasons = "; ".join(f"{name}: {member.last_failure or member.state.value}" for name, member in away)
        share = len(away) / len(self._members)
        return f"{len(away)} of {len(self._members)} brokers away, with some {share:.0%} of the devices: {reasons}"

    @property
    def is_away(self) -> Mapping[str, bool]:
        return {name: not _is_online(member) for name, member in zip(self._names, self._members, strict=True)}

    def reaches(self, device: str) -> bool:
        return _is_online(self._member_of(device))

    @property
    def max_packet_bytes(self) -> int:
        return min(member.max_packet_bytes for member in self._members)

    def connect(self, *, timeout_s: float = 10.0, keep_trying: bool = False, waits_for_clock: bool = False) -> None:
        """Returns once one is online and it is known of the others whether they are. BrokerError if one refuses us, or
        if there is none. With `waits_for_clock` a certificate that is not valid yet is waited for, however long."""
        for member in self._members:
            member.begin(insists=True)
        begin_s, marks_s = time.monotonic(), sorted((min(_SLOWEST_S, timeout_s), timeout_s))
        with self._changed:
            while not self._has_begun(since_s := time.monotonic() - begin_s, timeout_s, keep_trying, waits_for_clock):
                left_s = (mark_s - since_s for mark_s in marks_s if mark_s > since_s)
                self._changed.wait(min(next(left_s, math.inf), threading.TIMEOUT_MAX))
        refusals = (name for name, member in zip(self._names, self._members, strict=True) if member.is_refused)
        failed = next(refusals, None if self.state is ConnectionState.ONLINE else self._names[0])
        if failed is not None:
            reason = self._members[self._names.index(failed)].last_failure or f"no answer within {timeout_s:g} s"
            self.close(timeout_s=0.0)
            raise errors.BrokerError(f"broker {failed}: {reason}")
        if self.absent:
            _log.warning("goes on without some brokers until they are there %s", self.absent)

    def publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        timeout_s: float = math.inf,
    ) -> None:
        for member in self._to(topic, qos):
            member.publish(topic, payload, qos=qos, retain=retain, expiry_s=expiry_s, timeout_s=timeout_s)

    def try_publish(
        self,
        topic: str,
        payload: feature_codec.Buffer,
        *,
        qos: int = 1,
        retain: bool = False,
        expiry_s: float | None = None,
        then: tuple[str, feature_codec.Buffer] | None = None,
        done: Iterable[Message] = (),
    ) -> bool:
        """As every transport's; but what finds no room at a broker that is away is given up and counted. It would hold
        up what is for the others, and its frame comes again."""
        is_taken = True
        for member in self._to(topic, qos):
            if member.try_publish(topic, payload, qos=qos, retain=retain, expiry_s=expiry_s, then=then):
                continue
            if _is_online(member):
                is_taken = False
            else:
                with self._lock:
                    self._given_up += 1 if then is None else 2
        for message in done if is_taken else ():
            self.acknowledge(message, after_published=True)
        return is_taken

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        """At all; of one that is away it is asked for when it is back. BrokerError where one refuses."""
        for member in self._members:
            if not _is_online(member):
                member.wish(topic_filter, qos=qos)
                continue
            try:
                member.subscribe(topic_filter, qos=qos, timeout_s=timeout_s)
            except errors.BrokerError:
                if _is_online(member) or self.state is ConnectionState.CLOSED:
                    raise
                member.wish(topic_filter, qos=qos)

    def unsubscribe(self, topic_filter: str, *, timeout_s: float = 10.0) -> None:
        for member in self._members:
            member.unsubscribe(topic_filter, timeout_s=timeout_s)

    def receive(self, timeout_s: float) -> Message | None:
        return self._take(self._inbox, timeout_s)

    def set_aside(self, ending: str) -> None:
        for member in self._members:
            member.set_aside(ending)

    def receive_aside(self, timeout_s: float) -> Message | None:
        return self._take(self._aside, timeout_s)

    def acknowledge(self, message: Message, *, after_published: bool = False) -> None:
        number, mid = message.receipt
        number, place = divmod(number, len(self._members))
        self._members[place].acknowledge(replace(message, receipt=(number, mid)), after_published=after_published)

    def say_online(self) -> Presence | None:
        said = [member.say_online() for member in self._members]
        return said[0]

    def flush(self, timeout_s: float) -> bool:
        """Those that are away are not waited for."""
        deadline_s = time.monotonic() + timeout_s
        return all(each.flush(_left_s(deadline_s) if _is_online(each) else 0.0) for each in self._members)

    def wait_for(self, state: ConnectionState, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.state is state, min(timeout_s, threading.TIMEOUT_MAX))

    def close(self, *, timeout_s: float = 5.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        for member in self._members:
            member.close(timeout_s=min(_left_s(deadline_s), math.inf if _is_online(member) else _AWAY_S))

    def _has_begun(self, since_s: float, timeout_s: float, keep_trying: bool, waits_for_clock: bool) -> bool:
        """Whether it is known what becomes of the start."""
        is_online = self.state is ConnectionState.ONLINE
        if any(member.is_refused for member in self._members):
            return True
        if not is_online and waits_for_clock and any(member.is_early for member in self._members):
            return False
        if since_s >= (min(_SLOWEST_S, timeout_s) if is_online else timeout_s):
            return True
        is_known = all(
            member.state in (ConnectionState.ONLINE, ConnectionState.WAITING, ConnectionState.CLOSED)
            or member.last_failure is not None
            for member in self._members
        )
        return is_known and (is_online or not keep_trying)

    def _take(self, merged: _Merged, timeout_s: float) -> Message | None:
        deadline_s = time.monotonic() + timeout_s
        while (found := merged.take(_left_s(deadline_s))) is not None:
            place, message = found
            number, mid = message.receipt
            tagged = replace(message, receipt=(number * len(self._members) + place, mid))
            if self._is_news(place, message):
                return tagged
            self.acknowledge(tagged)
        return None

    def _is_news(self, place: int, message: Message) -> bool:
        """Whether others have not said it; notes where a device is heard, since it may not have moved yet to the broker
        that it is assigned to. Of what is retained only a status tells that, if it says that the device is there."""
        is_there, is_news = not message.retained, True
        if message.topic.endswith(_STATUS):
            said = None
            with contextlib.suppress(errors.FrameError):
                said = presence.parse(message.payload)
            is_there = said is not None and said.state == "online"
            is_news = self._statuses.is_news(message.topic, said, place, [*map(_is_online, self._members)])
        device = _device(message.topic)
        if is_there and self._heard.get(device) != place:
            with self._lock:
                self._heard.put(device, place, _ENTRY_BYTES)
        return is_news

    def _to(self, topic: str, qos: int) -> Iterator[Member]:
        device = _device(topic)
        if device == self._speaker:
            # What is retained waits for those that are away. The rest would be of no use by then.
            yield from (member for member in self._members if qos > 0 or _is_online(member))
            return
        yield self._member_of(device)

    def _member_of(self, device: str) -> Member:
        place = self._heard.get(device)
        return self._members[address.assigned(self._names, device) if place is None else place]


def _is_online(member: Member) -> bool:
    return member.state is ConnectionState.ONLINE


def _left_s(deadline_s: float) -> float:
    return max(0.0, deadline_s - time.monotonic())


def _device(topic: str) -> str:
    """The name in a topic of ours; a topic of others stands for itself."""
    levels = topic.split("/", 4)
    return levels[3] if len(levels) == 5 else topic
