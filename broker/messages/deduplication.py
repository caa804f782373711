"""Tells which results a reader has seen before, in bounded memory, so that it gets each result once.

Pure. A frame is identified by (device, boot, sequence): a device has a new random boot at each start, and counts its
frames.
"""

from tflsplit.recent import Recent
from tflsplit.values.classes import dataclass

# How many sequences of a run are remembered, back from its highest: as many results as a cloud holds to say them again
# (32 MiB of 1 KB and more), in 4 KB. An older result counts as new: a repeated one does less harm than a missing one.
REMEMBERED = 32_768

# A spool may replay frames of earlier runs between those of this one.
RUNS = 8

# 200,000 devices whose results all came, or 28,000 that lack some of the last 32,768.
MOST_BYTES = 128 << 20
# What Python needs for a device and for a run, besides the sequences that are missing.
_DEVICE_BYTES, _RUN_BYTES = 448, 192
# In an int of Python, which keeps 30 of them in 4 bytes.
_BITS_A_BYTE = 7

_ALL = (1 << REMEMBERED) - 1


@dataclass(slots=True)
class _Run:
    """From `lowest` to `highest` all came but those of which `missing` has a bit: bit n for `highest` - n."""

    lowest: int
    highest: int
    missing: int = 0

    @property
    def held_bytes(self) -> int:
        return _RUN_BYTES + self.missing.bit_length() // _BITS_A_BYTE

    def is_first(self, sequence: int) -> bool:
        """Whether it had not come; now it has."""
        behind = self.highest - sequence
        if behind < 0:
            ahead = -behind
            # Those between, bits 1 to ahead - 1, did not come.
            self.missing = 0 if ahead > REMEMBERED else (self.missing << ahead | (1 << ahead) - 2) & _ALL
            self.lowest = sequence if ahead > REMEMBERED else self.lowest
            self.highest = sequence
            return True
        if behind >= REMEMBERED:
            return True
        if sequence < self.lowest:
            between = (1 << behind) - (1 << self.highest - self.lowest + 1)
            self.missing |= between
            self.lowest = sequence
            return True
        is_new = bool(self.missing >> behind & 1)
        if is_new:
            self.missing ^= 1 << behind
        return is_new


class OfDevice:
    """The frames of one device. One thread at a time."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}  # the one that was used last is the last

    @property
    def held_bytes(self) -> int:
        return _DEVICE_BYTES + sum(run.held_bytes for run in self._runs.values())

    def is_first(self, boot: int, sequence: int) -> bool:
        """Whether this is the first call for that frame. The least recently used run is forgotten if need be."""
        run = self._runs.pop(boot, None)
        is_first = run is None or run.is_first(sequence)
        self._runs[boot] = run or _Run(sequence, sequence)
        if len(self._runs) > RUNS:
            del self._runs[next(iter(self._runs))]
        return is_first


class Deduplication:
    """The frames of all devices. One thread at a time."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self._devices: Recent[str, OfDevice] = Recent(MOST_BYTES if most_bytes is None else most_bytes)

    @property
    def forgotten(self) -> int:
        """Devices that made room for others: a second copy of a result of theirs counts as new."""
        return self._devices.forgotten

    @property
    def held_bytes(self) -> int:
        return self._devices.held_bytes

    def is_first(self, device: str, boot: int, sequence: int) -> bool:
        """Whether this is the first call for that frame. The least recently used devices are forgotten if need be."""
        frames = self._devices.get(device) or OfDevice()
        is_first = frames.is_first(boot, sequence)
        self._devices.put(device, frames, frames.held_bytes)
        return is_first
