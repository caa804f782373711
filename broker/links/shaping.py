"""Computes when bytes that enter a link now leave it. Pure: no clock, no I/O."""

import math
import random

from tflsplit import errors
from tflsplit.values.classes import dataclass

# Short pieces, so that two connections do not wait long for each other; at least a TCP segment.
_PIECE_S = 0.002
_SEGMENT_BYTES, _MOST_BYTES = 1460, 65_536
# The least buffer: as much as a cheap router has.
_LEAST_BUFFER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Shape:
    """One direction of a link. A random time up to `jitter_s` is added to `delay_s`; the order of bytes is kept.

    `burst_bytes` may pass at once after a pause. `bandwidth_bps` is of TCP's payload, without headers.
    """

    bandwidth_bps: float = math.inf
    delay_s: float = 0.0
    jitter_s: float = 0.0
    burst_bytes: int = 0

    def __post_init__(self) -> None:
        if not self.bandwidth_bps > 0:
            raise errors.SettingsError(f"a bandwidth of {self.bandwidth_bps} bit/s carries nothing")
        if not all(length >= 0 for length in (self.delay_s, self.jitter_s, self.burst_bytes)):
            raise errors.SettingsError(f"link {self}: delays and bursts cannot be negative")

    @property
    def piece_bytes(self) -> int:
        """How much to read at a time."""
        return int(min(max(self.bandwidth_bps / 8 * _PIECE_S, _SEGMENT_BYTES), _MOST_BYTES))

    @property
    def buffer_bytes(self) -> int:
        """How much a connection may buffer before its sender has to wait."""
        under_way = 0.0 if math.isinf(self.bandwidth_bps) else self.bandwidth_bps / 8 * (self.delay_s + self.jitter_s)
        return max(_LEAST_BUFFER_BYTES, int(2 * under_way))


class Schedule:
    """The schedule that all connections share in one direction. Times are seconds from the start and never go back."""

    def __init__(self, shape: Shape, randomness: random.Random) -> None:
        self._shape = shape
        self._randomness = randomness
        self._free_at_s = -math.inf
        self._last_out_s = 0.0

    def reshape(self, shape: Shape) -> None:
        """For what enters from now on."""
        self._shape = shape

    def out_at_s(self, now_s: float, count_bytes: int) -> float:
        """When the last of `count_bytes` that enter now leaves the link."""
        shape = self._shape
        began_s = max(self._free_at_s, now_s - shape.burst_bytes * 8 / shape.bandwidth_bps)
        self._free_at_s = began_s + count_bytes * 8 / shape.bandwidth_bps
        arrives_s = max(now_s, self._free_at_s) + shape.delay_s + self._randomness.uniform(0.0, shape.jitter_s)
        self._last_out_s = max(self._last_out_s, arrives_s)
        return self._last_out_s
