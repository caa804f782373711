"""What comes from the other members: messages into the inbox, each once, and hellos answered with what we retain.

Runs on the library's threads; one lock guards it, and what it shares with `deliveries`.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from broker.transport import protocol
from broker.transport.memory import matches
from broker.transport.state import Shared
from broker.zenoh import envelope
from broker.zenoh.envelope import Envelope, Kind
from broker.zenoh.members import Members, Will
from broker.zenoh.session import Asked, OnAnswer
from tflsplit import errors
from tflsplit.values.classes import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retained:
    number: int
    payload: bytes


class Arrivals:
    """Of one transport, over all its sessions. `retained` and `will` are what we tell the others; `guard` is held to
    change them. `on_back` is called with a member that was lost and is here again."""

    def __init__(self, member: bytes, shared: Shared, on_back: Callable[[bytes, bool], None]) -> None:
        self.guard = threading.RLock()
        self.members = Members()
        self.retained: dict[str, Retained] = {}
        self.will: Will | None = None
        self._member = member
        self._shared = shared
        self._on_back = on_back
        self._last_receipt = 0
        self._unacknowledged: dict[int, Asked | None] = {}  # by receipt, and who is told only when there is room
        self._fresh: list[set[tuple[bytes, int]]] = []

    def on_message(self, topic: str, payload: bytes, beside: bytes, asked: Asked | None) -> None:
        """Its sender is answered when the inbox has it. With more unacknowledged ones than the inbox should have that
        answer waits, so that the sender sends no more."""
        try:
            said = envelope.decode(beside)
        except errors.FrameError as problem:
            _log.debug("message ignored topic=%s reason=%s", topic, problem)
            return
        with self.guard:
            if self._is_new(topic, said) and self._take(topic, payload, 0 if asked is None else 1, said, asked):
                return
        if asked is not None:
            asked.answer(self._member)

    def on_hello(self, data: bytes, asked: Asked) -> None:
        try:
            hello = envelope.parse_hello(data)
        except errors.FrameError as problem:
            _log.debug("hello ignored reason=%s", problem)
            return
        with self.guard:
            if hello.leaves:
                self.members.leaves(hello.member)
            else:
                self._on_back(hello.member, self.members.came(hello.member, hello.filters))
            # All under the lock, so that nothing newer overtakes it.
            for topic, kept in self.retained.items():
                if any(matches(each, topic) for each in hello.fetch):
                    about = Envelope(self._member, kept.number, Kind.RETAINED, keeps=True, topic=topic)
                    asked.answer(kept.payload, about.encode())
            if self.will is not None:
                about = Envelope(self._member, 0, Kind.WILL, topic=self.will.topic)
                asked.answer(self.will.payload, about.encode())
        asked.answer(self._member)

    def fetch(self) -> tuple[OnAnswer, Callable[[], None]]:
        """What takes the answers to the hello of a new subscription: all that is retained, but for what comes as new
        meanwhile. And what ends it."""
        fresh: set[tuple[bytes, int]] = set()
        with self.guard:
            self._fresh.append(fresh)

        def take(payload: bytes, beside: bytes | None) -> None:
            if beside is not None:
                self._take_answer(payload, beside, fresh)

        def end() -> None:
            with self.guard:
                self._fresh = [each for each in self._fresh if each is not fresh]

        return take, end

    def meet(self, payload: bytes, beside: bytes) -> None:
        """An answer to our hello to a member that has come: what it retains and we do not have is new."""
        self._take_answer(payload, beside, None)

    def lost(self, member: bytes, now_s: float) -> None:
        """Its last will is read out."""
        with self.guard:
            will = self.members.lost(member, now_s)
            if will is not None and self._granted(will.topic) is not None:
                self._take(will.topic, will.payload, 1, Envelope(member, 0), None)

    def acknowledge(self, receipt: int) -> None:
        with self.guard:
            self._unacknowledged.pop(receipt, None)
            room = self._shared.limits.inbox_messages - sum(asked is None for asked in self._unacknowledged.values())
            told = [held for held, asked in self._unacknowledged.items() if asked is not None][: max(0, room)]
            answered = [self._unacknowledged[each] for each in told]
            self._unacknowledged.update(dict.fromkeys(told))
        for asked in answered:
            if asked is not None:
                asked.answer(self._member)

    def forget_receipts(self) -> None:
        """Of a session that is over."""
        with self.guard:
            self._unacknowledged.clear()

    def _take_answer(self, payload: bytes, beside: bytes, fresh: set[tuple[bytes, int]] | None) -> None:
        try:
            said = envelope.decode(beside)
        except errors.FrameError as problem:
            _log.debug("answer to a hello ignored reason=%s", problem)
            return
        with self.guard:
            if said.kind is Kind.WILL:
                self.members.wills(said.sender, Will(said.topic, payload))
            elif said.kind is Kind.RETAINED and self._granted(said.topic) is not None:
                was_handed_out = self.members.has_handed_out(said, said.topic)
                self.members.is_repeat(said)
                is_known = was_handed_out if fresh is None else (said.sender, said.number) in fresh
                if not is_known:
                    self._take(said.topic, payload, 1, said, None, retained=fresh is not None)

    def _is_new(self, topic: str, said: Envelope) -> bool:
        if self._granted(topic) is None or self.members.is_repeat(said):
            return False
        for fresh in self._fresh:
            fresh.add((said.sender, said.number))
        if said.keeps:
            self.members.has_handed_out(said, topic)
        return True

    def _take(
        self, topic: str, payload: bytes, qos: int, said: Envelope, asked: Asked | None, *, retained: bool = False
    ) -> bool:
        """True if whoever asked is to be answered later."""
        granted = min(qos, self._granted(topic) or 0)
        self._last_receipt += 1
        receipt = self._last_receipt
        message = protocol.Message(topic, payload, granted, retained, said.again, (0, receipt), time.monotonic())
        if granted == 0:
            self._shared.take_in(message)
            return False
        is_full = len(self._unacknowledged) >= self._shared.limits.inbox_messages
        self._unacknowledged[receipt] = asked if is_full else None
        if self._shared.take_in(message):
            return is_full and asked is not None
        del self._unacknowledged[receipt]
        return False

    def _granted(self, topic: str) -> int | None:
        """The QoS of our subscriptions to the topic; None without any."""
        with self._shared.changed:
            wanted: Iterable[int] = [
                each.qos
                for each in self._shared.subscriptions.values()
                if not each.is_ending and matches(each.topic_filter, topic)
            ]
        return max(wanted, default=None)
