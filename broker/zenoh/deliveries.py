"""What goes out: numbered, a window of it on its way, each message until all who take it have it.

A member that is lost with messages on their way to it is owed them for a while, and gets them when it is back; others
do not wait for it. For the network thread, but for what `ask` calls back.
"""

import collections
import logging
from collections.abc import Callable

from broker.transport.bounded_queues import Outgoing
from broker.transport.protocol import Drop
from broker.transport.state import Shared
from broker.zenoh.arrivals import Arrivals, Retained
from broker.zenoh.envelope import Envelope
from broker.zenoh.session import Session
from tflsplit.values.classes import dataclass, field

_log = logging.getLogger(__name__)

# Longer than any receiver should take to read what is in its inbox; one that is gone ends the waiting before.
_ANSWER_S = 600.0
# How long a member may be away and still gets what it is owed.
AWAY_S = 10.0
# One that is there and does not answer is asked so often, with each look after it.
_MOST_SENDINGS = 20


@dataclass(slots=True)
class Flight:
    """`is_held` while it takes up room in the outbox."""

    outgoing: Outgoing
    is_held: bool
    answered: set[bytes] = field(default_factory=set)


class Deliveries:
    """Of one transport, over all its sessions."""

    def __init__(self, member: bytes, shared: Shared, arrivals: Arrivals, wake: Callable[[], None]) -> None:
        self._member = member
        self._shared = shared
        self._arrivals = arrivals
        self._wake = wake
        self._last_number = 0
        self._flights: dict[int, Flight] = {}
        self._ended: collections.deque[int] = collections.deque()
        self._gone: collections.deque[bytes] = collections.deque()
        self._again: collections.deque[tuple[int, Outgoing]] = collections.deque()

    def pump(self, session: Session) -> None:
        """BrokerError where the session is over."""
        self._settle()
        while self._again and len(self._flights) < self._shared.limits.window:
            number, outgoing = self._again.popleft()
            self._send(session, number, outgoing, is_held=False)
        while True:
            is_full = len(self._flights) >= self._shared.limits.window
            outgoing_ = self._shared.outbox.take(is_window_full=is_full)
            if outgoing_ is None:
                return
            if outgoing_.expires_at_s is not None and self._shared.clock() >= outgoing_.expires_at_s:
                self._shared.drop(outgoing_, Drop.EXPIRED)
                continue
            self._last_number += 1
            self._keep(outgoing_)
            self._send(session, self._last_number, outgoing_, is_held=True)

    def is_done_with(self, number: int) -> bool:
        """Whether all that the outbox took up to that number is with those who take it."""
        is_sent = number == 0 or self._shared.outbox.has_taken(number)
        return is_sent and all(each.outgoing.number > number for each in self._flights.values())

    def owe(self, member: bytes) -> None:
        """The member is here: what it is owed goes out again."""
        with self._arrivals.guard:
            self._again.extend(self._arrivals.members.owed_to(member))

    def lost(self, member: bytes) -> None:
        """From any thread: the member is gone. What went out while its link broke may never be said to have ended."""
        self._gone.append(member)
        self._wake()

    def look(self, now_s: float) -> None:
        """Some times a second."""
        with self._arrivals.guard:
            self._again.extend(self._arrivals.members.owed_to_present())
            lost = self._arrivals.members.forget(now_s - AWAY_S)
        self._count_lost(lost)

    def give_back(self) -> None:
        """The session is over: what nobody had goes out first in the next."""
        self._settle()
        flights = sorted(self._flights.items())
        self._flights.clear()
        self._shared.outbox.put_back(flight.outgoing for _, flight in flights if flight.is_held)

    def _keep(self, outgoing: Outgoing) -> None:
        if outgoing.retain:
            with self._arrivals.guard:
                self._arrivals.retained.pop(outgoing.topic, None)
                if len(outgoing.payload):
                    kept = Retained(self._last_number, bytes(outgoing.payload))
                    self._arrivals.retained[outgoing.topic] = kept

    def _send(self, session: Session, number: int, outgoing: Outgoing, *, is_held: bool) -> None:
        counters, payload = self._shared.counters, outgoing.payload
        about = Envelope(self._member, number, keeps=outgoing.retain, again=outgoing.sendings > 0).encode()
        if outgoing.sendings == 0:
            counters.published += 1
        else:
            counters.resent += 1
        outgoing.sendings += 1
        held = payload if isinstance(payload, bytes) else bytes(payload)
        if outgoing.qos == 0:
            session.send(outgoing.topic, held, about)
            self._shared.outbox.release(outgoing)
            return
        flight = self._flights[number] = Flight(outgoing, is_held)

        def end() -> None:
            self._ended.append(number)
            self._wake()

        session.ask(outgoing.topic, held, about, lambda who, _: flight.answered.add(who), end, timeout_s=_ANSWER_S)

    def _settle(self) -> None:
        while self._gone:
            gone = self._gone.popleft()
            self._ended.extend(number for number, each in self._flights.items() if gone not in each.answered)
        while self._ended:
            number = self._ended.popleft()
            flight = self._flights.pop(number, None)
            if flight is None:
                continue
            outgoing, lost = flight.outgoing, 0
            with self._arrivals.guard:
                missing = self._arrivals.members.missing(outgoing.topic, flight.answered)
                for member in missing:
                    may_wait = outgoing.sendings < _MOST_SENDINGS
                    lost += not (may_wait and self._arrivals.members.owe(member, number, outgoing))
            self._shared.counters.acknowledged += not missing
            self._count_lost(lost)
            if flight.is_held:
                self._shared.outbox.release(outgoing)

    def _count_lost(self, messages: int) -> None:
        if messages:
            self._shared.counters.dropped[Drop.CONNECTION_LOST] += messages
            _log.debug("messages for a member that is gone messages=%d", messages)
