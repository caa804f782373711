"""What each device may hold of a cloud: at most as much as is free, so that there is always room for others.

One device alone gets half of the cloud, each of two a third, and so on. (Dynamic thresholds: Choudhury and Hahne,
IEEE/ACM Transactions on Networking 6(2), 1998.) Whoever holds no more than the window of an ordinary edge keeps that.
"""

from collections import Counter
from dataclasses import dataclass

# `edge_runtime.delivery.settings`: the window that edges have unless they are told otherwise.
_ALWAYS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """The most frames, and bytes, that are taken and not yet published and acknowledged: windows of 128 devices."""

    frames: int = 1024
    bytes: int = 256 << 20


class Shares:
    """Frames that are not answered yet, by device. One thread at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._frames: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._all_frames = self._all_bytes = 0

    def has_room(self, device: str) -> bool:
        """Whether another frame of this device is within its share."""
        frames = self._frames[device]
        return frames < _ALWAYS or (
            frames < self._limits.frames - self._all_frames
            and self._bytes[device] < self._limits.bytes - self._all_bytes
        )

    def add(self, device: str, held_bytes: int) -> None:
        self._count(device, 1, held_bytes)

    def remove(self, device: str, held_bytes: int) -> None:
        self._count(device, -1, -held_bytes)
        if not self._frames[device]:
            del self._frames[device], self._bytes[device]

    def _count(self, device: str, frames: int, held_bytes: int) -> None:
        self._frames[device] += frames
        self._bytes[device] += held_bytes
        self._all_frames += frames
        self._all_bytes += held_bytes
