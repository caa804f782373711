"""A queue that serves the device which had least, so that one that floods delays nobody but itself.

Fair queueing by virtual time: each device has had so many seconds of tails; the next frame is of the waiting device
that has had fewest. One that comes back is as far as the one that is being served: it is owed nothing for its absence,
and goes before the backlog of others. (Start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996. Its bound on what
two waiting devices can differ by is a frame of each, whatever frames cost; deficit round robin, Shreedhar and Varghese,
SIGCOMM 1995, may let every other device have its quantum first.) Equal shares would let one that floods take all that
the others leave, and their waits double on a cloud that is near its limit; so the time of a device counts several times
while it has very many frames waiting, and while it is served without end though the others have little waiting: who
sends as fast as answers come never has much waiting. What lies between is an ordinary device that had bad luck.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

# The window of edges in `edge_runtime.delivery.settings`. The time of a device that has six times as much waiting, and
# six times as much as the others that wait have on average, counts the more the more it has: on a cloud without any
# time to spare ordinary devices have backlogs too, and one that had bad luck must not starve.
_WINDOW, _MANY = 8, 6.0
# So does that of one with no more than a window waiting that was served so many times since it last came with nothing
# waiting and nothing owed. Frames while some others have more than a little waiting do not count: nobody comes with
# nothing waiting then. On a cloud without time to spare each frame that passes before a flood is known as one waits in
# everybody's queue for minutes; with fewer, ordinary devices are taken for floods and all wait longer.
_STREAK, _FEW, _SOME = 10, 2.0, 3
# What its time counts then. `python benchmarks/flooding.py` simulates all of it.
_FLOOD_WEIGHT = 64.0
# How much a device's last frame counts in what its next one is expected to take.
_NEWEST = 0.25
# A frame counts at most so many times what was expected: the one that was served while the machine stood still is no
# fault of its device, whose next frames would wait for seconds.
_MOST_TIMES = 4.0
# Devices that are remembered without a waiting frame: 32 MiB, at what Python needs for one.
_DEVICES = (32 << 20) // 1024


class _Device(Generic[Item]):
    """`had_s` is its virtual time, `cost_s` what a frame of it usually takes, `number` settles ties, `streak` counts
    the frames served since it last came owing nothing."""

    __slots__ = ("cost_s", "had_s", "items", "number", "streak")

    def __init__(self, had_s: float, cost_s: float) -> None:
        self.had_s, self.cost_s = had_s, cost_s
        self.items: deque[Item] = deque()
        self.number = self.streak = 0


class FairQueue(Generic[Item]):
    """Frames of one device keep their order. One thread at a time."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device[Item]] = {}
        self._waiting: list[tuple[float, int, _Device[Item]]] = []  # a heap, by what they had and their numbers
        self._first: deque[Item] = deque()
        self._now_s = 0.0
        self._cost_s = 0.001  # of a frame of a device that was not served yet
        self._puts = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, device: str, item: Item) -> None:
        known = self._devices.get(device)
        if known is None:
            self._forget()
            known = self._devices[device] = _Device(self._now_s, self._cost_s)
        known.items.append(item)
        self._length += 1
        if len(known.items) == 1:
            self._puts += 1
            if known.had_s <= self._now_s:
                known.streak = 0
            known.number, known.had_s = self._puts, max(known.had_s, self._now_s)
            self._wait(known)

    def put_first(self, item: Item) -> None:
        """Before all others, and at nobody's cost: it had its turn."""
        self._first.appendleft(item)
        self._length += 1

    def take(self) -> Item | None:
        if self._first:
            self._length -= 1
            return self._first.popleft()
        if not self._waiting:
            return None
        device = heapq.heappop(self._waiting)[-1]
        return self._serve(device, device.items.popleft())

    def take_all(self, is_wanted: Callable[[Item], bool], most: int) -> list[Item]:
        """Up to `most` that are wanted, in the order in which they would be served; the others keep theirs."""
        taken: list[Item] = []
        passed: list[_Device[Item]] = []
        while self._waiting and len(taken) < most:
            device = heapq.heappop(self._waiting)[-1]
            found = next((item for item in device.items if is_wanted(item)), None)
            if found is None:
                passed.append(device)
                continue
            device.items.remove(found)
            taken.append(self._serve(device, found))
        for device in passed:
            self._wait(device)
        return taken

    def served(self, device: str, took_s: float) -> None:
        """How long a frame took, for the cost of the device's next ones."""
        known = self._devices.get(device)
        if known is not None:
            known.cost_s = _updated(known.cost_s, took_s)
            self._cost_s = _updated(self._cost_s, took_s)

    def _serve(self, device: _Device[Item], item: Item) -> Item:
        self._length -= 1
        self._now_s = max(self._now_s, device.had_s)
        # Both of the others that wait: this one is not in the heap now.
        mine, waiting = len(device.items), len(self._waiting)
        others = (self._length - len(self._first) - mine) / waiting if waiting else 0.0
        device.streak += waiting < _SOME or others < _FEW
        if mine <= _WINDOW:
            weight = _FLOOD_WEIGHT if device.streak > _STREAK else 1.0
        else:
            most = math.inf if waiting else _WINDOW  # where it is in nobody's way it does not owe more than a window
            weight = min(most, max(1.0, (mine / (_MANY * max(_WINDOW, others))) ** 4))
        device.had_s += device.cost_s * weight
        if device.items:
            self._wait(device)
        return item

    def _wait(self, device: _Device[Item]) -> None:
        heapq.heappush(self._waiting, (device.had_s, device.number, device))

    def _forget(self) -> None:
        """Those that nothing is known of that a new one would not have too; if that is none, all that do not wait."""
        if len(self._devices) >= _DEVICES:
            kept = {name: each for name, each in self._devices.items() if each.items or each.had_s > self._now_s}
            if len(kept) >= _DEVICES:
                kept = {name: each for name, each in kept.items() if each.items}
            self._devices = kept


def _updated(expected_s: float, took_s: float) -> float:
    return expected_s + _NEWEST * (min(took_s, _MOST_TIMES * expected_s) - expected_s)
