"""The other members as one of them sees them: who is there, what each takes, what it retains, and what it is owed.

Pure: no network, no clock. Not for several threads at once.
"""

import collections
from collections.abc import Collection, Iterable

from broker.transport.bounded_queues import Outgoing
from broker.transport.memory import matches
from broker.zenoh.envelope import Envelope
from tflsplit.values.classes import dataclass, field

# As many numbers of each sender are remembered; far more than its window of messages that may be on their way twice.
_REMEMBERED = 4096
# What one member who is away is owed at most, as messages and as bytes; then it is lost to it, and counted.
_OWED_MESSAGES, _OWED_BYTES = 256, 32 << 20


@dataclass(slots=True)
class Will:
    topic: str
    payload: bytes


@dataclass(slots=True)
class Member:
    """`left_at_s` is when it was lost; None while it is there. `retained` has the number of its newest message on each
    topic that was handed out."""

    filters: tuple[str, ...] = ()
    will: Will | None = None
    left_at_s: float | None = None
    has_left: bool = False
    retained: dict[str, int] = field(default_factory=dict)
    owed: collections.deque[tuple[int, Outgoing]] = field(default_factory=collections.deque)
    owed_bytes: int = 0
    numbers: set[int] = field(default_factory=set)
    order: collections.deque[int] = field(default_factory=collections.deque)


class Members:
    """All but ourselves, by id; those that send without having said hello, too."""

    def __init__(self) -> None:
        self._known: dict[bytes, Member] = {}

    def is_repeat(self, said: Envelope) -> bool:
        """Whether this number of its sender came before; from now on it has."""
        member = self._of(said.sender)
        if said.number in member.numbers:
            return True
        member.numbers.add(said.number)
        member.order.append(said.number)
        if len(member.order) > _REMEMBERED:
            member.numbers.discard(member.order.popleft())
        return False

    def has_handed_out(self, said: Envelope, topic: str) -> bool:
        """Whether this or a newer message that its sender retains on the topic was handed out before; from now on it
        was."""
        retained = self._of(said.sender).retained
        if retained.get(topic, -1) >= said.number:
            return True
        retained[topic] = said.number
        return False

    def wills(self, sender: bytes, will: Will) -> None:
        self._of(sender).will = will

    def came(self, sender: bytes, filters: Iterable[str]) -> bool:
        """A hello: the member is there, and takes that. True if it had been lost."""
        member = self._of(sender)
        was_lost, member.left_at_s, member.has_left = member.left_at_s is not None, None, False
        member.filters = tuple(filters)
        return was_lost

    def owed_to(self, sender: bytes) -> list[tuple[int, Outgoing]]:
        """What is to be sent to it again, by number; it is owed no longer."""
        member = self._of(sender)
        owed, member.owed_bytes = list(member.owed), 0
        member.owed.clear()
        return owed

    def leaves(self, sender: bytes) -> None:
        """It says goodbye: no last will, and nothing is kept for it."""
        member = self._of(sender)
        member.has_left, member.will, member.filters = True, None, ()

    def lost(self, sender: bytes, now_s: float) -> Will | None:
        """It is gone; its last will, if that is to be read out. What it retained counts as new when it is back."""
        member = self._known.get(sender)
        if member is None or member.left_at_s is not None:
            return None
        if member.has_left:
            del self._known[sender]
            return None
        member.left_at_s = now_s
        member.retained.clear()
        will, member.will = member.will, None
        return will

    def owed_to_present(self) -> list[tuple[int, Outgoing]]:
        """The same of all that are there, and did not answer all the same."""
        present = [sender for sender, member in self._known.items() if member.left_at_s is None and member.owed]
        return [each for sender in present for each in self.owed_to(sender)]

    def missing(self, topic: str, answered: Collection[bytes]) -> list[bytes]:
        """Those that take the topic and did not answer."""
        return [
            sender
            for sender, member in self._known.items()
            if sender not in answered and any(matches(each, topic) for each in member.filters)
        ]

    def owe(self, sender: bytes, number: int, outgoing: Outgoing) -> bool:
        """False if it is owed too much already."""
        member = self._of(sender)
        has_room = len(member.owed) < _OWED_MESSAGES and member.owed_bytes + outgoing.packet_bytes <= _OWED_BYTES
        if has_room or not member.owed:
            member.owed.append((number, outgoing))
            member.owed_bytes += outgoing.packet_bytes
            return True
        return False

    def forget(self, before_s: float) -> int:
        """Those that were lost before that, and how many messages they were owed."""
        gone = [sender for sender, one in self._known.items() if one.left_at_s is not None and one.left_at_s < before_s]
        return sum(len(self._known.pop(sender).owed) for sender in gone)

    def _of(self, sender: bytes) -> Member:
        return self._known.setdefault(sender, Member())
