"""Tells which results a reader has seen before, in bounded memory, so that it gets each result once.

Pure. A frame is identified by (device, boot, sequence): a device has a new random boot at each start, and counts its
frames.
"""

from collections import OrderedDict
from dataclasses import dataclass

# How many sequences of a run are remembered, back from its highest: as many results as a cloud holds to say them again
# (32 MiB of 1 KB and more), in 4 KB. An older result counts as new: a repeated one does less harm than a missing one.
REMEMBERED = 32_768

# A spool may replay frames of earlier runs between those of this one.
RUNS = 8
DEVICES = 4096

_ALL = (1 << REMEMBERED) - 1


@dataclass(slots=True)
class _Run:
    """`seen` has bit n set where the sequence `highest` - n was seen."""

    highest: int = -1
    seen: int = 0

    def is_first(self, sequence: int) -> bool:
        ahead = sequence - self.highest
        if ahead > 0:
            self.seen = 1 if ahead >= REMEMBERED else (self.seen << ahead | 1) & _ALL
            self.highest = sequence
            return True
        if -ahead >= REMEMBERED:
            return True
        is_new = not self.seen >> -ahead & 1
        self.seen |= 1 << -ahead
        return is_new


class OfDevice:
    """The frames of one device. One thread at a time."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: OrderedDict[int, _Run] = OrderedDict()

    def is_first(self, boot: int, sequence: int) -> bool:
        """Whether this is the first call for that frame. The least recently used run is forgotten if need be."""
        run = self._runs.setdefault(boot, _Run())
        self._runs.move_to_end(boot)
        if len(self._runs) > RUNS:
            self._runs.popitem(last=False)
        return run.is_first(sequence)


class Deduplication:
    """The frames of all devices. One thread at a time."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, OfDevice] = OrderedDict()

    def is_first(self, device: str, boot: int, sequence: int) -> bool:
        """Whether this is the first call for that frame. The least recently used device is forgotten if need be."""
        frames = self._devices.setdefault(device, OfDevice())
        self._devices.move_to_end(device)
        if len(self._devices) > DEVICES:
            self._devices.popitem(last=False)
        return frames.is_first(boot, sequence)
