"""The queue that workers pull from: each takes a frame when it is free, so a slow one simply takes fewer.

No frame is dealt out in advance: one that waits behind a slow worker would wait while others are idle. How many may
wait is bounded by whoever submits them.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker import wire
from broker.answering import Done, Job
from tflsplit import errors


@dataclass(slots=True, eq=False)
class Waiting:
    """A frame and who waits for its answer. `deaths` counts the workers that died or hung with it."""

    job: Job
    done: Done
    deaths: int = 0

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

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
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
                others = [waiting for waiting in self._waiting if waiting.kind != kind]
                fitting = [waiting for waiting in self._waiting if waiting.kind == kind]
                taken_now = fitting[: most - len(taken)]
                taken += taken_now
                if taken_now:
                    kept = {id(waiting) for waiting in taken_now}
                    self._waiting = deque(waiting for waiting in self._waiting if id(waiting) not in kept)
                left_s = until_s - self._clock()
                if others or left_s <= 0:
                    # Frames of another kind are not made to wait for ours.
                    break
                if len(taken) < most:
                    self._changed.wait(left_s)
        return taken

    def close(self) -> None:
        """Nothing is given out any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
