"""Estimates how far the cloud's clock is ahead of ours, from the four times of each answered frame.

Pure. A frame leaves here at T1 and arrives at the cloud at T2; its answer leaves at T3 and arrives here at T4. T1 and
T4 are by our clock, T2 and T3 by the cloud's. No message arrives before it was sent, so the offset is between T3 - T4
and T2 - T1, even if one direction is slower. The intervals of all frames are intersected, so the quickest frame of each
direction counts.

Clocks drift: an interval grows by `drift` on both sides for each second of its age. If a new interval does not overlap
the known one, a clock was set or another cloud answered; then only the new one counts.
"""

from tflsplit.values.classes import dataclass

# Twice what two cheap quartzes differ by (50 ppm each); NTP slews by up to 500 ppm, seldom and not for long.
DRIFT = 200e-6


@dataclass(frozen=True, slots=True)
class Offset:
    """The cloud's clock minus ours, in seconds, at most `error_s` from the truth."""

    offset_s: float
    error_s: float


class ClockOffset:
    """`steps` counts how often the known interval was given up. For one thread."""

    def __init__(self, *, drift: float = DRIFT) -> None:
        self.steps = 0
        self._drift = drift
        self._low_s = 0.0
        self._high_s = 0.0
        self._at_s: float | None = None

    def add(self, sent_s: float, received_s: float, answered_s: float, arrived_s: float) -> None:
        """T1, T2, T3 and T4 of a frame that was sent once only: otherwise T1 would be ambiguous."""
        drifted_s = self._drift * (arrived_s - sent_s)  # while this frame was away
        low_s, high_s = answered_s - arrived_s - drifted_s, received_s - sent_s + drifted_s
        if low_s > high_s:
            return  # impossible unless a clock was set meanwhile
        known = self.at(arrived_s)
        if known is not None:
            kept_low_s = max(low_s, known.offset_s - known.error_s)
            kept_high_s = min(high_s, known.offset_s + known.error_s)
            if kept_low_s <= kept_high_s:
                low_s, high_s = kept_low_s, kept_high_s
            else:
                self.steps += 1
        self._low_s, self._high_s, self._at_s = low_s, high_s, arrived_s

    def at(self, now_s: float) -> Offset | None:
        """The offset at `now_s` of our clock; None before the first frame."""
        if self._at_s is None:
            return None
        drifted_s = self._drift * abs(now_s - self._at_s)
        middle_s, half_s = (self._low_s + self._high_s) / 2, (self._high_s - self._low_s) / 2
        return Offset(middle_s, half_s + drifted_s)
