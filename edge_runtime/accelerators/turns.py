"""Whose turn it is on a device that several use: a queue for each, and the device's time shared out by weight.

Start-time fair queueing (Goyal, Vin and Cheng, 1996), over the time that each turn really took: nobody's cost has to be
known beforehand. Whoever was idle gets credit for one turn of its own: who has to do something between two turns, and
has a large weight, would fall short of its share otherwise.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tflsplit.values.classes import dataclass


@dataclass(slots=True, eq=False)
class Share:
    """One user's share: `weight` against the others', and what it had. `tag` is its place in the order of turns, and
    `step` how far its last turn took it."""

    weight: float = 1.0
    turns: int = 0
    used_s: float = 0.0
    waited_s: float = 0.0
    tag: float = 0.0
    step: float = 0.0


class Turns:
    """`turn` is for one thread of each user; `at_once` have theirs at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, at_once: int = 1) -> None:
        self._clock = clock
        self._free = at_once
        self._changed = threading.Condition()
        self._waiting: list[Share] = []
        self._now = 0.0  # the highest tag of a turn so far

    @contextmanager
    def turn(self, share: Share) -> Iterator[None]:
        """Waits until it is this user's turn, which lasts as long as the block."""
        came_s = self._clock()
        with self._changed:
            share.tag = max(share.tag, self._now - share.step)
            self._waiting.append(share)
            while not self._free or min(self._waiting, key=lambda each: each.tag) is not share:
                self._changed.wait()
            self._waiting.remove(share)
            self._free -= 1
            self._now = max(self._now, share.tag)
            self._changed.notify_all()  # the next one's turn may have come too
        began_s = self._clock()
        try:
            yield
        finally:
            took_s = self._clock() - began_s
            with self._changed:
                share.turns += 1
                share.used_s += took_s
                share.waited_s += began_s - came_s
                share.step = took_s / share.weight
                share.tag += share.step
                self._free += 1
                self._changed.notify_all()
