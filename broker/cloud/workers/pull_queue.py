"""The queue that workers pull from: each takes a frame when it is free, so a slow one simply takes fewer.

No frame is dealt out in advance: one that waits behind a slow worker would wait while others are idle. How many may
wait is bounded by whoever submits them.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

from broker.cloud.answerer import Done, Job
from broker.messages import wire
from tflsplit import errors


@dataclass(slots=True, eq=False)
class Waiting:
    """A frame and who waits for its answer, since when by the monotonic clock. `deaths` counts the workers that died or
    hung with it."""

    job: Job
    done: Done
    deaths: int = 0
    since_s: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> tuple[bytes, int] | None:
        """What the frames of a batch have in common; None for one that goes alone."""
        try:
            label = wire.peek(self.job.encoded)
        except errors.FrameError:
            return None
        return None if self.deaths else (label.package, label.cut)


class PullQueue:
    """First come, first served; any thread."""

    def __init__(self) -> None:
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting) -> None:
        with self._changed:
            self._waiting.append(waiting)
            self._changed.notify()

    def put_back(self, waiting: Waiting) -> None:
        """Before all others: it has waited longest."""
        with self._changed:
            self._waiting.appendleft(waiting)
            self._changed.notify()

    def take(self, timeout_s: float) -> Waiting | None:
        """The next frame, or None after `timeout_s` and once the queue is closed."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed, timeout_s)
            return self._waiting.popleft() if self._waiting and not self._is_closed else None

    def take_like(self, first: Waiting, *, most: int, until_s: float) -> list[Waiting]:
        """Up to `most` further frames that can go in a batch with `first`, waiting for them until `until_s`."""
        kind, taken = first.kind, list[Waiting]()
        with self._changed:
            while kind is not None and len(taken) < most and not self._is_closed:
                waiting, self._waiting = self._waiting, deque[Waiting]()
                for each in waiting:
                    (taken if len(taken) < most and each.kind == kind else self._waiting).append(each)
                left_s = until_s - time.monotonic()
                # Frames of another kind are not made to wait for ours.
                if self._waiting or left_s <= 0 or len(taken) == most:
                    break
                self._changed.wait(left_s)
            if self._waiting:
                self._changed.notify()  # what woke us may have been for a worker that is free
        return taken

    def close(self) -> None:
        """Nothing is given out any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
