"""The queue from which workers take frames: each takes one when it is free, so a slow worker takes fewer.

No frame is assigned in advance, where it could wait for a slow worker while others are idle. Callers bound the number
of frames that they submit. Which frame is next is for `broker.cloud.turns.fair_queue`.
"""

import threading
import time

from broker.cloud.answerer import Answer, Done, Job
from broker.cloud.turns.fair_queue import FairQueue
from broker.messages import wire
from tflsplit import errors
from tflsplit.values.classes import dataclass, field


@dataclass(slots=True, eq=False)
class Waiting:
    """A waiting frame and the callback for its answer. `since_s` is by the monotonic clock; `deaths` counts the workers
    that died or hung over it."""

    job: Job
    done: Done
    deaths: int = 0
    since_s: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> tuple[bytes, int] | None:
        """Package and cut, which are equal within a batch; None for a frame that must run alone."""
        try:
            label = wire.peek(self.job.encoded)
        except errors.FrameError:
            return None
        return None if self.deaths else (label.package, label.cut)


class PullQueue:
    """The device that had least is served first; any thread."""

    def __init__(self) -> None:
        self._waiting: FairQueue[Waiting] = FairQueue()
        self._changed = threading.Condition()
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, waiting: Waiting) -> None:
        with self._changed:
            self._waiting.put(waiting.job.device, waiting)
            self._changed.notify()

    def put_back(self, waiting: Waiting) -> None:
        """Puts a frame before all others, because it has waited longest."""
        with self._changed:
            self._waiting.put_first(waiting)
            self._changed.notify()

    def take(self, timeout_s: float) -> Waiting | None:
        """The next frame, or None after `timeout_s` and once the queue is closed."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed, timeout_s)
            return None if self._is_closed else self._waiting.take()

    def take_like(self, first: Waiting, *, most: int, until_s: float) -> list[Waiting]:
        """Up to `most` further frames that can go in a batch with `first`, waiting for them until `until_s`."""
        kind, taken = first.kind, list[Waiting]()
        with self._changed:
            while kind is not None and len(taken) < most and not self._is_closed:
                taken += self._waiting.take_all(lambda each: each.kind == kind, most - len(taken))
                left_s = until_s - time.monotonic()
                # Do not wait any longer if frames of another kind are waiting.
                if self._waiting or left_s <= 0 or len(taken) == most:
                    break
                self._changed.wait(left_s)
            if self._waiting:
                self._changed.notify()  # our wake-up may have been for a frame that another worker can take
        return taken

    def served(self, waiting: Waiting, answer: Answer) -> None:
        """How long a frame took, which counts for its device's next turns."""
        with self._changed:
            self._waiting.served(waiting.job.device, answer.decode_s + answer.tail_s)

    def close(self) -> None:
        """From now on `take` returns None."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
