"""The frames that one machine has begun under one epoch: which letters have come, and which frame is next.

Letters may come in any order and more than once: each is known by its frame, step, phase and sender.
"""

import threading
import time
from collections.abc import Sequence

import numpy as np

from broker.messages.peers.parcels import Parcel, Stamp
from edge_runtime.peers.summary import Summary
from tflsplit import errors
from tflsplit.graph.tensors import Array
from tflsplit.placement.letters import Letter
from tflsplit.placement.running import Frame, Share
from tflsplit.values.classes import dataclass, field

# More frames than may be on their way are not begun; some, since a source counts those as done whose result it has.
_SPARE = 4


@dataclass(slots=True)
class Begun:
    """A frame that is here. `seen` are the letters that came whole, `parts` of the others what has come of them."""

    stamp: Stamp
    frame: Frame
    since_s: float
    waits_since_s: float
    received_ms: float
    seen: set[tuple[int, int, int]] = field(default_factory=set)
    parts: dict[tuple[int, int, int], dict[int, memoryview]] = field(default_factory=dict)
    compute_s: float = 0.0


class Frames:
    """`take` is for the thread that receives, all else for the one that computes."""

    def __init__(self, share: Share, key: tuple[int, int], window: int, summary: Summary) -> None:
        self.share = share
        self.key = key
        self._window = window
        self._summary = summary
        self._begun: dict[int, Begun] = {}
        self._done: set[int] = set()
        self._floor = 0  # frames before it are done
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._begun)

    def take(self, parcel: Parcel) -> None:
        """FrameError for what this machine is not sent under this placement."""
        letter = self.share.expected.get(parcel.letter)
        if letter is None:
            raise errors.FrameError(f"a letter of step {parcel.letter[0]} from machine {parcel.letter[2]}, not for us")
        with self._lock:
            begun = self._of(parcel.stamp)
            if begun is None or parcel.letter in begun.seen:
                self._summary.repeats += 1
                return
            parts = begun.parts.setdefault(parcel.letter, {})
            if parcel.index in parts:
                self._summary.repeats += 1
                return
            parts[parcel.index] = parcel.body  # of a message that is ours
            if len(parts) < parcel.count:
                return
            payload = parcel.body if len(parts) == 1 else memoryview(b"".join(parts[each] for each in sorted(parts)))
            del begun.parts[parcel.letter]
            if len(payload) != letter.bytes:
                raise errors.FrameError(
                    f"a letter of step {letter.step} has {len(payload)} bytes, expected {letter.bytes}"
                )
            begun.seen.add(parcel.letter)
            self._summary.letter_received(letter)
            begun.frame.take(letter, unpacked(letter, payload))

    def begin(self, stamp: Stamp, inputs: Sequence[Array]) -> Begun:
        """A frame at the source."""
        with self._lock:
            return self._new(stamp, self.share.begin(inputs))

    def next(self) -> Begun | None:
        """The oldest frame whose next task can be done."""
        with self._lock:
            places = [place for place, begun in self._begun.items() if begun.frame.is_ready]
            return self._begun[min(places)] if places else None

    def finish(self, begun: Begun) -> None:
        """It has no task left here."""
        with self._lock:
            place = begun.stamp.place
            self._begun.pop(place, None)
            self._done.add(place)
            while self._floor in self._done:
                self._done.discard(self._floor)
                self._floor += 1

    def _of(self, stamp: Stamp) -> Begun | None:
        """The frame, begun now if it is new; None if it is done. FrameError for one too far ahead to be true."""
        if stamp.place < self._floor or stamp.place in self._done:
            return None
        if stamp.place >= self._floor + _SPARE * self._window:
            raise errors.FrameError(f"frame {stamp.place} of the epoch, and {self._floor} is the first one not done")
        return self._begun.get(stamp.place) or self._new(stamp, self.share.begin())

    def _new(self, stamp: Stamp, frame: Frame) -> Begun:
        now_s = time.monotonic()
        self._begun[stamp.place] = Begun(stamp, frame, now_s, now_s, time.time() * 1e3)
        return self._begun[stamp.place]


def packed(arrays: Sequence[Array]) -> tuple[memoryview, ...]:
    """A letter's contents, to be joined: each array in C order, little endian."""
    flat = (np.ascontiguousarray(each, each.dtype.newbyteorder("<")).reshape(-1) for each in arrays)
    return tuple(each.view(np.uint8).data for each in flat)


def unpacked(letter: Letter, payload: memoryview) -> tuple[Array, ...]:
    """Read-only views."""
    found, offset = [], 0
    for dtype, shape in letter.layout:
        kind = np.dtype(dtype).newbyteorder("<")
        count = int(np.prod(shape, dtype=np.int64))
        found.append(np.frombuffer(payload, kind, count, offset).reshape(shape).astype(dtype, copy=False))
        offset += count * kind.itemsize
    return tuple(found)
