"""Keeps recent answers for frames that arrive again because their result may have been lost. Bounded in two ways."""

from collections import OrderedDict

from broker.cloud.answerer import Answer
from broker.messages import wire

# The device, what the frame says it is, and the checksum of all that it holds: an edge that uses a boot twice must not
# get the answers of its other frames.
Key = tuple[str, wire.Label, int]

# For 64 devices with a window of 64 each; at about 1 KB an answer the limit of bytes matters only for raw outputs.
_ANSWERS = 4096
_BYTES = 64 << 20
# What Python needs for an entry besides the answer's bytes.
_ENTRY_BYTES = 512


class ReplyCache:
    """The latest answers by frame. One thread at a time."""

    def __init__(self, *, most: int = _ANSWERS, most_bytes: int = _BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._answers: OrderedDict[Key, Answer] = OrderedDict()
        self._held_bytes = 0

    def get(self, key: Key) -> Answer | None:
        return self._answers.get(key)

    def add(self, key: Key, answer: Answer) -> None:
        self._drop(self._answers.pop(key, None))
        self._answers[key] = answer
        self._held_bytes += answer.held_bytes + _ENTRY_BYTES
        while len(self._answers) > self._most or self._held_bytes > self._most_bytes:
            self._drop(self._answers.popitem(last=False)[1])

    def _drop(self, answer: Answer | None) -> None:
        if answer is not None:
            self._held_bytes -= answer.held_bytes + _ENTRY_BYTES
