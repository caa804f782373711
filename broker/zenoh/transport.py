"""The transport over direct links: every member publishes to those that subscribed, and no broker is between.

What a broker keeps, its members keep here: each its own retained messages and its last will, which it tells the others
when they meet. At QoS 1 a message is acknowledged when every member that takes it has it in its inbox. Links that break
are made again by the library, within one session.
"""

import collections
import contextlib
import functools
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from broker.messages.presence import Presence
from broker.transport import protocol
from broker.transport.address import Credentials
from broker.transport.backoff import Backoff
from broker.transport.protocol import ConnectionState
from broker.transport.reconnecting import Reconnecting
from broker.transport.state import Lost, Subscription
from broker.zenoh import address, box, openings, settings
from broker.zenoh import session as zenoh_session
from broker.zenoh.address import Meeting
from broker.zenoh.arrivals import Arrivals
from broker.zenoh.deliveries import Deliveries
from broker.zenoh.envelope import MEMBER_BYTES, Hello
from broker.zenoh.members import Will
from broker.zenoh.session import Listener, Session
from tflsplit import errors

# How long the network thread may sleep when nothing happens.
_LOOK_S = 0.25
# Who is there answers a hello at once; one that hangs is not waited for any longer.
_HELLO_S = 5.0
# How long others may take to hear that we leave.
_GOODBYE_S = 1.0
# After so long without a member somebody knocks to see why; who listens goes without those who are not there by then.
_KNOCK_S, _PATIENCE_S = 1.0, 3.0
# The library makes a link again within its longest pause (`settings`), if it does.
_REMADE_S = 5.0


class ZenohTransport(Reconnecting):
    """`transport.Transport` among the members of a `deployment` that meet at `meeting`, an address or one that is
    parsed. A member that is silent for one and a half `keepalive_s` is lost.

    What needs a broker is refused: `$share` in a filter. Nothing is kept for who is not there, but what a member is
    owed that is away for less than `deliveries.AWAY_S`.
    """

    def __init__(
        self,
        meeting: Meeting | str,
        *,
        deployment: str,
        name: str,
        credentials: Credentials | None = None,
        keepalive_s: float = 5.0,
        connect_timeout_s: float = 10.0,
        presence: Presence | None = None,
        limits: protocol.Limits | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._meeting = meeting if isinstance(meeting, Meeting) else address.parse(meeting)
        self._credentials = credentials or Credentials()
        settings.check(self._meeting, self._credentials)
        if self._meeting.is_tls and self._meeting.is_listening:
            openings.check_may_listen(self._credentials)
        super().__init__(f"direct link {self._meeting}", f"zenoh-{name}", limits, backoff)
        self._deployment = deployment
        self._silence_s = 1.5 * keepalive_s
        self._connect_timeout_s = connect_timeout_s
        self._presence = presence
        self._member = secrets.token_bytes(MEMBER_BYTES)
        self._arrivals = Arrivals(self._member, self._shared, self._on_back)
        self._deliveries = Deliveries(self._member, self._shared, self._arrivals, self._wake)
        self._goodbye_s = 0.0
        self._met: set[bytes] = set()  # who answered our hello, and is there
        self._is_cut = False  # since the network thread looked, there was a time when nobody was there
        self._expected = 0  # as many are there, as far as we know, when the session begins
        self._filters: tuple[str, ...] = ()
        self._came: collections.deque[bytes] = collections.deque()
        self._backs: collections.deque[bytes] = collections.deque()
        self._stirred = threading.Event()

    def subscribe(self, topic_filter: str, *, qos: int = 1, timeout_s: float = 10.0) -> None:
        if topic_filter.startswith("$share/"):
            raise errors.BrokerError(
                f"{self._peer}: nobody deals out frames among clouds here ({topic_filter}); sharing them needs a broker"
            )
        super().subscribe(topic_filter, qos=qos, timeout_s=timeout_s)

    def _check(self, topic: str, *, retain: bool) -> None:
        if problem := zenoh_session.check_topic(topic):
            raise errors.BrokerError(f"message on {topic!r}: no topic of a direct link: {problem}")

    def _wake(self) -> None:
        self._stirred.set()

    def _stop(self) -> None:
        self._wake()

    def _known(self) -> dict[str, object]:
        return {"link": self._meeting, "members": len(self._met)}

    def _say_goodbye(self, timeout_s: float) -> None:
        if self._state is ConnectionState.ONLINE:
            self._goodbye_s = min(timeout_s, _GOODBYE_S)
            self._say("offline", "closed")
            self._shared.outbox.wait_empty(timeout_s)

    def _attempt(self) -> Lost:
        self._number += 1
        self._filters = ()
        self._met.clear()
        self._is_cut = False
        self._came.clear()
        try:
            with self._opened() as session:
                return self._serve(session)
        except errors.BrokerError as problem:
            return Lost(str(problem), cause=problem)
        finally:
            self._deliveries.give_back()
            self._arrivals.forget_receipts()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Session]:
        listener = Listener(self._arrivals.on_message, self._arrivals.on_hello, self._on_member)
        name = self._member.hex()[:8]  # a socket's path is short
        with contextlib.ExitStack() as stack:
            folder, self._expected = self._meeting.folder, len(self._meeting.at)
            if folder is None:
                session = Session(self._settings((None, ())), self._member, listener)
            else:
                stack.callback(box.leave, folder, name)
                with box.joining(folder, name) as sockets:
                    self._expected = len(sockets[1])
                    session = Session(self._settings(sockets), self._member, listener)
            stack.callback(session.close)
            if self._presence is not None:
                lost = self._presence.status("offline", self._number, "lost")
                with self._arrivals.guard:
                    self._arrivals.will = Will(self._presence.topic, lost)
            session.start()
            yield session

    def _settings(self, sockets: tuple[Path | None, Sequence[Path]]) -> settings.Settings:
        return settings.of(
            self._meeting,
            self._credentials,
            namespace=self._deployment,
            silence_s=self._silence_s,
            connect_timeout_s=self._connect_timeout_s,
            sockets=sockets,
        )

    def _serve(self, session: Session) -> Lost:
        opened_s = looked_s = met_s = self._clock()
        knocks_s = opened_s + _KNOCK_S
        while not self._is_stopping:
            now_s = self._clock()
            self._greet(session)
            self._follow_links(now_s - opened_s)
            if self._state is ConnectionState.ONLINE:
                met_s = now_s
                self._pump(session)
            elif self._was_online and now_s >= met_s + _REMADE_S:
                return self._knock()  # a new session, in case the library gave up
            elif not self._was_online and now_s >= knocks_s:
                self._lost = lost = self._knock()
                now_s = self._clock()
                gives_up = self._gives_up_at_once and (lost.is_silent or now_s >= opened_s + self._connect_timeout_s)
                if lost.is_for_good or lost.is_early or gives_up:
                    return lost
                knocks_s = now_s + self._connect_timeout_s
            if now_s >= looked_s + _LOOK_S:
                self._deliveries.look(now_s)
                looked_s = now_s
            self._stirred.wait(_LOOK_S)
            self._stirred.clear()
        self._leave(session)
        return Lost("closed")

    def _follow_links(self, since_s: float) -> None:
        """Who listens is online, once those to connect to were met, if they are there; who only connects, while
        somebody is met."""
        is_reached = bool(self._met)
        if self._meeting.is_listening:
            is_reached = self._was_online or len(self._met) >= self._expected or since_s >= _KNOCK_S
        elif self._is_cut and self._state is ConnectionState.ONLINE:
            self._is_cut, self._lost = False, Lost("connection lost: no member is reached any longer")
            self._set_state(ConnectionState.WAITING)
        if is_reached and self._state is not ConnectionState.ONLINE:
            self._say("online")
            self._go_online()

    def _knock(self) -> Lost:
        for where in self._meeting.at:
            lost = openings.why(where, self._credentials, min(_PATIENCE_S, self._connect_timeout_s))
            if lost.is_for_good or where == self._meeting.at[-1]:
                return lost
        return Lost("nobody of this deployment listens in this network", is_silent=True)

    def _greet(self, session: Session) -> None:
        while self._came:
            member = self._came.popleft()
            hello = Hello(self._member, self._filters, fetch=self._filters).encode()
            meet = functools.partial(self._meet, member)
            session.ask_members(hello, meet, self._wake, timeout_s=_HELLO_S, member=member)

    def _meet(self, member: bytes, payload: bytes, beside: bytes | None) -> None:
        """One of a member's answers to our hello."""
        self._met.add(member)
        if beside is not None:
            self._arrivals.meet(payload, beside)
        self._wake()

    def _pump(self, session: Session) -> None:
        self._subscribe(session)
        while self._backs:
            self._deliveries.owe(self._backs.popleft())
        self._deliveries.pump(session)
        receipts = self._shared.receipts
        while receipts and self._deliveries.is_done_with(receipts[0].after):
            self._arrivals.acknowledge(receipts.popleft().mid)

    def _subscribe(self, session: Session) -> None:
        with self._shared.changed:
            new = [each for each in self._shared.subscriptions.values() if each.session != self._number]
        for wanted in new:
            wanted.session, name = self._number, wanted.topic_filter
            try:
                if wanted.is_ending:
                    session.unsubscribe(name)
                    self._filters = tuple(each for each in self._filters if each != name)
                elif name not in self._filters:
                    session.subscribe(name)
                    self._filters = (*self._filters, name)
            except errors.BrokerError as problem:
                self._answer(wanted, str(problem))
                continue
            # Behind the declaration on every link: when all have answered, all know of it.
            hello = Hello(self._member, self._filters, fetch=() if wanted.is_ending else (name,)).encode()
            take, end = self._arrivals.fetch()
            answered = functools.partial(self._fetched, wanted, end)
            session.ask_members(hello, take, answered, timeout_s=_HELLO_S)

    def _fetched(self, wanted: Subscription, end: Callable[[], None]) -> None:
        end()
        self._answer(wanted)

    def _answer(self, wanted: Subscription, refusal: str | None = None) -> None:
        with self._shared.changed:
            wanted.answered, wanted.refusal = True, refusal
            self._shared.changed.notify_all()

    def _leave(self, session: Session) -> None:
        """So that the others do not take us for lost."""
        if self._goodbye_s > 0:
            heard = threading.Event()
            hello = Hello(self._member, leaves=True).encode()
            with contextlib.suppress(errors.BrokerError):
                session.ask_members(hello, _nothing, heard.set, timeout_s=self._goodbye_s)
                heard.wait(self._goodbye_s)

    def _on_member(self, member: bytes, is_here: bool) -> None:
        """One that is gone is lost at once: if it is back when the network thread looks, it has said hello since."""
        if is_here:
            self._came.append(member)
        else:
            self._met.discard(member)
            self._is_cut = self._is_cut or not self._met
            self._arrivals.lost(member, self._clock())
            self._deliveries.lost(member)
        self._wake()

    def _on_back(self, member: bytes, was_lost: bool) -> None:
        """A member said hello."""
        if was_lost and self._meeting.is_listening:
            self._shared.counters.reconnects += 1
        self._backs.append(member)
        self._wake()


def _nothing(*_: object) -> None:
    pass
