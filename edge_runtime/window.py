"""Frames that were sent and whose result is not back: at most so many, each kept until it is answered.

A broker's acknowledgement is no receipt: it may have dropped the message already. So the edge itself remembers what it
sent, and sends again what was not answered in time. Thread-safe; no I/O, and the clock comes in as an argument.
"""

import threading
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame on its way. `sent_at_s` is by the caller's monotonic clock and moves with each resending."""

    sequence: int
    encoded: bytes
    captured_at_s: float
    head_s: float
    sent_at_s: float


class Window:
    """At most `size` frames outstanding."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sent: dict[int, Sent] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        with self._changed:
            return len(self._sent)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether another frame may be sent, waiting for a result up to `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._sent) < self._size, timeout_s)

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Whether every frame is answered, waiting up to `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._sent, timeout_s)

    def add(self, sent: Sent) -> None:
        with self._changed:
            self._sent[sent.sequence] = sent

    def settle(self, sequence: int) -> Sent | None:
        """The frame that was just answered, which is forgotten; None if it was answered before or is not ours."""
        with self._changed:
            sent = self._sent.pop(sequence, None)
            self._changed.notify_all()
            return sent

    def postpone(self, now_s: float) -> None:
        """Every frame counts as sent now."""
        with self._changed:
            self._sent.update((sequence, replace(sent, sent_at_s=now_s)) for sequence, sent in self._sent.items())

    def overdue(self, now_s: float, timeout_s: float) -> tuple[Sent, ...]:
        """Frames unanswered for `timeout_s`, oldest first; their clock starts anew, the caller sends them again."""
        with self._changed:
            late = tuple(sent for sent in self._sent.values() if now_s - sent.sent_at_s >= timeout_s)
            self._sent.update((sent.sequence, replace(sent, sent_at_s=now_s)) for sent in late)
            return late
