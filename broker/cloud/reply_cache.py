"""Keeps recent answers for frames that arrive again because their result may have been lost.

As many as the rate of frames asks for, within a bound in bytes: an edge waits up to a minute before it sends a frame
again, as a frame that waits for its third answer does.
"""

import time
from collections.abc import Callable

from broker.cloud.answerer import Answer
from broker.messages import wire
from tflsplit.recent import Recent

# The device, what the frame says it is, and the checksum of all that it holds: an edge that uses a boot twice must not
# get the answers of its other frames.
Key = tuple[str, wire.Label, int]

# 43,000 answers of 1 KB: those of a minute at 700 frames a second, of ten seconds at 4,300.
_BYTES = 64 << 20
# So many are kept however old they are: those of devices that come back after hours.
_ALWAYS = 4096
# `edge_runtime.delivery.window`: the longest that an edge waits before it sends a frame again.
_LONG_S = 60.0
# An edge sends again after 5 s, unless it is told otherwise; an answer that went before twice that may be missed.
_SOON_S = 10.0
# What Python needs for an entry besides the answer's bytes.
_ENTRY_BYTES = 512


class ReplyCache:
    """The latest answers by frame. One thread at a time. `forgotten` answers made room for others within seconds."""

    def __init__(self, *, most_bytes: int = _BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self.forgotten = 0
        self._most_bytes = most_bytes
        self._clock = clock
        self._answers: Recent[Key, tuple[float, Answer]] = Recent(most_bytes)

    def get(self, key: Key) -> Answer | None:
        found = self._answers.get(key)
        return None if found is None else found[1]

    def add(self, key: Key, answer: Answer) -> None:
        now_s, held_bytes = self._clock(), answer.held_bytes + _ENTRY_BYTES
        if held_bytes > self._most_bytes:
            self.forgotten += 1
            return
        while (oldest := self._answers.oldest) is not None:
            age_s = now_s - oldest[0]
            is_old = age_s >= _LONG_S and len(self._answers) >= _ALWAYS
            is_full = self._answers.held_bytes + held_bytes > self._most_bytes
            if not is_old and not is_full:
                break
            self._answers.pop_oldest()
            self.forgotten += age_s < _SOON_S
        self._answers.put(key, (now_s, answer), held_bytes)
