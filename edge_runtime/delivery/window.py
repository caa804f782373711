"""The window of unanswered frames: bounded, and each frame is kept until it is answered or given up.

A broker's acknowledgement does not prove delivery: the broker may have dropped the message. So the edge remembers what
it sent, and sends unanswered frames again. Thread-safe; no I/O, and the clocks come in as arguments.
"""

import threading
from collections.abc import Callable, Iterable
from itertools import takewhile

from broker.messages import acks, results
from edge_runtime.delivery.framing import Packed
from tflsplit.values.classes import dataclass, field

Key = tuple[int, int]
Refusal = results.Refusal | acks.Acknowledgement

# Frames of a megabyte would make a large window take gigabytes.
MAX_BYTES = 64 << 20

# A frame is sent again after 1, 2, 4, … times the time-out, at most this: a slow cloud is not flooded, and one that
# comes back gets frames soon.
_LONGEST_S = 60.0


@dataclass(slots=True)
class Outstanding:
    """An unanswered frame. Times in s are by the caller's monotonic clock. `published_ns` is the last sending since the
    epoch, `first_sent_at_s` the first sending while the broker could be reached. `is_due` asks for another sending;
    `refusal` is that of a cloud which does not serve it, while another may. `is_early` says
    that a cloud lacked what comes before it in its stream."""

    packed: Packed
    captured_at_s: float
    first_sent_at_s: float
    sent_at_s: float
    published_ns: int
    sendings: int = 1
    doublings: int = 0
    is_due: bool = False
    refusal: Refusal | None = None
    refused_at_s: float = 0.0
    is_early: bool = False
    answered: set[int] = field(default_factory=set)  # the sequences of its inputs, where it holds several

    def is_first_answer(self, sequence: int) -> bool:
        """Notes an answer to one of several inputs; False for one that is answered already, or not in the frame."""
        first = self.packed.sequence
        if sequence in self.answered or not first <= sequence < first + self.packed.inputs:
            return False
        self.answered.add(sequence)
        return True

    @property
    def is_answered(self) -> bool:
        return len(self.answered) >= self.packed.inputs


class Window:
    """Holds at most `size` frames and `max_bytes`, but always one frame."""

    def __init__(self, size: int, max_bytes: int = MAX_BYTES) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sent: dict[Key, Outstanding] = {}
        self._round_trip = _RoundTrip()
        self._lock = threading.RLock()  # a condition's own way to it is longer, and each frame goes it
        self._changed = threading.Condition(self._lock)

    def __len__(self) -> int:
        return len(self._sent)

    def resize(self, size: int) -> None:
        """Frames that are already in the window stay."""
        with self._lock:
            self._size = size
            self._changed.notify_all()

    def __contains__(self, key: Key) -> bool:
        return key in self._sent

    def wait_for_room(self, timeout_s: float, beside: Callable[[], int] = int) -> bool:
        """Whether another frame may be sent and leave room for so many `beside` it, waiting for room up to
        `timeout_s`."""
        with self._lock:
            has_room = self._has_room(beside())
            return has_room or self._changed.wait_for(lambda: self._has_room(beside()), timeout_s)

    def look_again(self) -> None:
        """What waits for room with frames `beside` it asks again how many these are."""
        with self._lock:
            self._changed.notify_all()

    def wait_until_empty(self, timeout_s: float) -> bool:
        """Whether the window is empty, waiting up to `timeout_s`."""
        with self._lock:
            return self._changed.wait_for(lambda: not self._sent, timeout_s)

    def add(self, packed: Packed, *, now_s: float, now_ns: int) -> None:
        captured_at_s = packed.captured_at_s
        if captured_at_s is None:
            captured_at_s = now_s - max(0.0, (now_ns - packed.captured_ns) / 1e9)
        with self._lock:
            self._sent[packed.key] = Outstanding(packed, captured_at_s, now_s, now_s, now_ns)
            self._bytes += len(packed.encoded)

    def settle(self, key: Key, now_s: float, sequence: int | None = None) -> Outstanding | None:
        """Removes and returns the frame that was just answered; None if it is not in the window. Where only the input
        of that `sequence` was answered, it stays until all are, and None is for one that was answered before."""
        with self._lock:
            sent = self._sent.get(key)
            if sent is None or (sequence is not None and not sent.is_first_answer(sequence)):
                return None
            if sequence is not None and not sent.is_answered:
                return sent
            self._take(key)
            self._round_trip.add(now_s - sent.first_sent_at_s)
            return sent

    def forget(self, keys: Iterable[Key]) -> None:
        """Removes frames that were given up."""
        with self._lock:
            for key in keys:
                self._take(key)

    def refuse(self, key: Key, refusal: Refusal, now_s: float) -> bool:
        """Notes that a cloud does not serve the frame; False if it is not in the window."""
        with self._lock:
            sent = self._sent.get(key)
            if sent is not None and sent.refusal is None:
                sent.refusal, sent.refused_at_s = refusal, now_s
            return sent is not None

    def missed(self, key: Key) -> bool:
        """A cloud lacks what comes before a frame in its stream: whether frames of that boot before it are unanswered.

        Then it waits for these. The oldest was sent before it, so it is lost, and due."""
        with self._lock:
            sent = self._sent.get(key)
            before = [one for one in self._sent if one[0] == key[0] and one < key]
            if sent is None or not before:
                return False
            sent.is_early = True
            oldest = self._sent[min(before)]
            oldest.is_due = oldest.is_due or oldest.sent_at_s <= sent.sent_at_s
            return True

    def refused(self) -> list[Outstanding]:
        """Frames that a cloud refused and none has answered."""
        with self._lock:
            return [sent for sent in self._sent.values() if sent.refusal is not None]

    def postpone(self, now_s: float) -> None:
        """Counts every frame as sent now."""
        with self._lock:
            for sent in self._sent.values():
                sent.first_sent_at_s = sent.sent_at_s = now_s

    def hurry(self) -> None:
        """The cloud is back, or gets no frames: from now on frames wait for the plain time-out only."""
        with self._lock:
            self._round_trip.forget()
            for sent in self._sent.values():
                sent.doublings = 0

    def send_all_again(self, before_s: float) -> None:
        """A cloud has come: all that was sent before is due, and nothing that others said of it counts."""
        self.hurry()
        with self._lock:
            for sent in self._sent.values():
                sent.is_due = sent.sent_at_s <= before_s
                sent.refusal = None

    def is_silent(self, now_s: float, answered_at_s: float, timeout_s: float) -> bool:
        """Whether frames are unanswered for so long that no cloud can be working on them.

        Judged by the shortest time of an answer. The usual time grows with the queue in the broker, and frames that the
        broker dropped from its queue are never answered.
        """
        with self._lock:
            oldest = next(iter(self._sent.values()), None)
            patience_s = max(timeout_s, 4 * self._round_trip.least_s)
            return oldest is not None and now_s - max(answered_at_s, oldest.sent_at_s) >= patience_s

    def overdue(self, now_s: float, timeout_s: float) -> list[Outstanding]:
        """Frames unanswered for `timeout_s`, or for as long as answers usually take, oldest first."""
        with self._lock:
            timeout_s = max(timeout_s, self._round_trip.timeout_s)
            return [
                sent
                for sent in self._sent.values()
                if sent.is_due or now_s - sent.sent_at_s >= _patience_s(sent, timeout_s)
            ]

    def sent_again(self, sent: Outstanding, *, now_s: float, now_ns: int) -> None:
        with self._lock:
            sent.sent_at_s, sent.published_ns = now_s, now_ns
            sent.sendings += 1
            sent.doublings += 1
            sent.is_due = False

    def older_than(self, now_s: float, age_s: float) -> list[Outstanding]:
        """Frames older than `age_s`, oldest first if they were added in that order. They stay until `forget`."""
        with self._lock:
            return list(takewhile(lambda sent: now_s - sent.captured_at_s > age_s, self._sent.values()))

    def _has_room(self, beside: int) -> bool:
        return not self._sent or (len(self._sent) + beside < self._size and self._bytes < self._max_bytes)

    def _take(self, key: Key) -> Outstanding | None:
        sent = self._sent.pop(key, None)
        if sent is not None:
            self._bytes -= len(sent.packed.encoded)
            self._let_follow()
            self._changed.notify_all()
        return sent

    def _let_follow(self) -> None:
        """Once nothing is before them, frames that were early are due."""
        first = next(iter(self._sent.values()), None)
        if first is not None and first.is_early:
            for sent in self._sent.values():
                sent.is_due, sent.is_early = sent.is_due or sent.is_early, False


def _patience_s(sent: Outstanding, timeout_s: float) -> float:
    # The exponent is bounded: a float overflows after a day of sendings.
    return min(timeout_s * 2.0 ** min(sent.doublings, 32), max(timeout_s, _LONGEST_S))


class _RoundTrip:
    """How long answers take, estimated like TCP's round trip (RFC 6298): four deviations above the mean is late.

    A frame that was sent more than once counts from its first sending: the estimate is rather too long than too short.
    """

    def __init__(self) -> None:
        self.least_s = 0.0
        self._mean_s: float | None = None
        self._deviation_s = 0.0

    def forget(self) -> None:
        """Forgets the estimate, but not the shortest time."""
        self._mean_s, self._deviation_s = None, 0.0

    @property
    def timeout_s(self) -> float:
        return min(_LONGEST_S, (self._mean_s or 0.0) + 4 * self._deviation_s)

    def add(self, taken_s: float) -> None:
        self.least_s = min(self.least_s or taken_s, taken_s)
        if self._mean_s is None:
            self._mean_s, self._deviation_s = taken_s, taken_s / 2
            return
        self._deviation_s += (abs(taken_s - self._mean_s) - self._deviation_s) / 4
        self._mean_s += (taken_s - self._mean_s) / 8
