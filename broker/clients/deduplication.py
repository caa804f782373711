"""Which results were seen before, in bounded memory: what turns "at least once" into "once" for one reader.

Pure. A device draws a new boot at each start and counts its frames within it, so a frame is (device, boot, sequence).
"""

from collections import OrderedDict
from dataclasses import dataclass

# Sequences of one run that are told apart, counted back from its highest: four times the widest window of an edge, and
# 2 KB each. A result that is older still counts as new: one too many is better than one too few.
REMEMBERED = 16_384

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
        """Whether it was not asked for this frame before, which from now on it was."""
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
        """The one asked for longest ago makes room."""
        runs = self._devices.setdefault(device, OrderedDict())
        self._devices.move_to_end(device)
        if len(self._devices) > DEVICES:
            self._devices.popitem(last=False)
        run = runs.setdefault(boot, _Run())
        runs.move_to_end(boot)
        if len(runs) > RUNS:
            runs.popitem(last=False)
        return run
