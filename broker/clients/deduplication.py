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


class Deduplication:
    """One thread at a time."""

    def __init__(self) -> None:
        self._devices: OrderedDict[str, OrderedDict[int, _Run]] = OrderedDict()

    def is_first(self, device: str, boot: int, sequence: int) -> bool:
        """Whether this is the first call for that frame."""
        run = self._run(device, boot)
        ahead = sequence - run.highest
        if ahead > 0:
            run.seen = 1 if ahead >= REMEMBERED else (run.seen << ahead | 1) & _ALL
            run.highest = sequence
            return True
        if -ahead >= REMEMBERED:
            return True
        is_new = not run.seen >> -ahead & 1
        run.seen |= 1 << -ahead
        return is_new

    def _run(self, device: str, boot: int) -> _Run:
        """The run, for which the least recently used one is forgotten if need be."""
        runs = self._devices.setdefault(device, OrderedDict())
        self._devices.move_to_end(device)
        if len(self._devices) > DEVICES:
            self._devices.popitem(last=False)
        run = runs.setdefault(boot, _Run())
        runs.move_to_end(boot)
        if len(runs) > RUNS:
            runs.popitem(last=False)
        return run
