"""How far the cloud's clock is ahead of ours, from the four times that each answered frame carries.

Pure. A frame that left here at T1 arrived there at T2, its answer left there at T3 and came back at T4; T1 and T4 are
by our clock, T2 and T3 by the cloud's. No message arrives before it was sent, so the offset lies between T3 - T4 and
T2 - T1, however unequal the two ways are: an interval as wide as the round trip without the cloud's own time. What
lies in the intervals of all frames is kept, so the quickest frame of each direction counts, not the quickest of both.

Clocks drift: an interval grows by `drift` on both sides for each second of its age. Where a new interval misses what
was known, a clock was set, or another cloud answered; then only the new one counts.
"""

from dataclasses import dataclass

# Twice what two cheap quartzes differ by (50 ppm each); NTP slews by up to 500 ppm, seldom and not for long.
DRIFT = 200e-6


@dataclass(frozen=True, slots=True)
class Offset:
    """The cloud's clock minus ours, in seconds, at most `error_s` from the truth."""

    offset_s: float
    error_s: float


class ClockOffset:
    """`steps` counts how often what was known had to be given up. One thread's."""

    def __init__(self, *, drift: float = DRIFT) -> None:
        self.steps = 0
        self._drift = drift
        self._low_s = 0.0
        self._high_s = 0.0
        self._at_s: float | None = None

    def add(self, sent_s: float, received_s: float, answered_s: float, arrived_s: float) -> None:
        """T1, T2, T3, T4 of a frame that was sent once: of one that was sent again, nobody knows which T1 is meant."""
        drifted_s = self._drift * (arrived_s - sent_s)  # while this frame was away
        low_s, high_s = answered_s - arrived_s - drifted_s, received_s - sent_s + drifted_s
        if low_s > high_s:
            return  # more time passed there than here: a clock was set meanwhile
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
        """What is known at `now_s` of our clock; None before the first frame."""
        if self._at_s is None:
            return None
        drifted_s = self._drift * abs(now_s - self._at_s)
        middle_s, half_s = (self._low_s + self._high_s) / 2, (self._high_s - self._low_s) / 2
        return Offset(middle_s, half_s + drifted_s)
