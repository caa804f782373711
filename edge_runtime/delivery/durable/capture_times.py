"""When the frames of this run were captured, by its monotonic clock: the spool keeps the time of the machine only.

That time may be set while frames wait. What is remembered is how far both clocks are apart, once for each change.
"""

from bisect import bisect_right

from edge_runtime.delivery.framing import Packed
from tflsplit.values.classes import replace

# Less than this is no step: the two clocks are not read in the same instant, and NTP slews one of them.
_STEP_S = 0.01
# Changes that are remembered; a clock that is set more often has no frames of its first settings left.
_MOST = 1024


class CaptureTimes:
    """Sequences only grow. One thread notes, any thread asks."""

    def __init__(self, boot: int) -> None:
        self._boot = boot
        self._apart: list[tuple[int, float]] = []  # from this sequence on: the machine's clock minus ours

    def note(self, packed: Packed) -> None:
        if packed.captured_at_s is None:
            return
        apart_s = packed.captured_ns / 1e9 - packed.captured_at_s
        if not self._apart or abs(apart_s - self._apart[-1][1]) >= _STEP_S:
            self._apart = [*self._apart[-_MOST:], (packed.sequence, apart_s)]

    def timed(self, packed: Packed) -> Packed:
        """The frame with its time by our clock, if it is one of this run."""
        known = self._apart
        place = bisect_right(known, (packed.sequence, float("inf"))) - 1
        if packed.boot != self._boot or place < 0:
            return packed
        return replace(packed, captured_at_s=packed.captured_ns / 1e9 - known[place][1])
