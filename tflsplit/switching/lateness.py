"""From when on a frame is late where the 95th percentile is the goal, and how much that counts now.

The percentile of all frames is not made of that of each: while a link is dead every frame is among the slowest,
whatever is done, and one in twenty may be. So a frame is late that takes longer than the 95th percentile would have
been, as far as is known by now, of the best cut that stays; and a late one counts the more, the nearer the share of
what was late comes to a twentieth. All is counted by time, as a camera's ticks that find the device busy are.
"""

import math
from collections.abc import Sequence

from tflsplit.switching.choices import Choice, Present, latency_s
from tflsplit.values.classes import dataclass, field

SHARE = 0.05
# So much longer is as good as the same.
_MARGIN = 1.05
# What a frame that is surely late counts, in times of what is late, once a twentieth was; from half of that on.
_MOST_WEIGHT = 20.0
# What is expected counts as if it had been seen for so long; half of what was seen is forgotten after that.
_EXPECTED_FOR_S, _HALF_LIFE_S = 20.0, 300.0
# The percentiles of what would have been move slowly.
_LOOK_EVERY_S = 1.0
# Steps of 2 %, up to a day; what takes less than a tenth of a millisecond is as good as that.
_STEP, _LEAST_S, _STEPS = math.log(1.02), 1e-4, 1050
# Far below what a float can hold.
_MOST_UNIT = 1e100


@dataclass(frozen=True, slots=True)
class Late:
    """Frames that take longer than `after_s` are late; `weight` times that is what a surely late one costs. Of those
    that were sent, a share of `risk` was late for what nobody saw coming."""

    after_s: float
    weight: float
    risk: float


@dataclass(slots=True)
class _Times:
    """For how long frames took how long, the newest counting most."""

    _seconds: dict[int, float] = field(default_factory=dict)
    _unit: float = 1.0  # of a second now: rather than all others less, the newest count more

    def add(self, latency_s: float, for_s: float) -> None:
        place = min(_STEPS, max(0, round(math.log(max(latency_s, _LEAST_S) / _LEAST_S) / _STEP)))
        self._seconds[place] = self._seconds.get(place, 0.0) + for_s * self._unit
        self._unit *= math.pow(2.0, min(for_s / _HALF_LIFE_S, 100.0))
        if self._unit > _MOST_UNIT:
            self._seconds = {at: counted / self._unit for at, counted in self._seconds.items()}
            self._unit = 1.0

    def percentile_s(self) -> float:
        left = SHARE * math.fsum(self._seconds.values())
        for place in sorted(self._seconds, reverse=True):
            left -= self._seconds[place]
            if left < 0:
                return _LEAST_S * math.exp(place * _STEP)
        return math.inf

    def share_above(self, latency_s: float, unknown: float) -> float:
        all_s = math.fsum(self._seconds.values())
        above_s = math.fsum(
            counted
            for place, counted in self._seconds.items()
            if _LEAST_S * math.exp((place - 0.5) * _STEP) > latency_s
        )
        return above_s / all_s if all_s else unknown


class Lateness:
    """What each of the choices would have taken all the time, and what the frames took."""

    def __init__(self, choices: Sequence[Choice], usual: Present) -> None:
        self._choices = choices
        self._would = [_Times() for _ in choices]
        for each, times in zip(choices, self._would, strict=True):
            times.add(latency_s(each, usual), _EXPECTED_FOR_S)
        self._taken, self._sent = _Times(), _Times()
        self._at_s = self._looked_s = -math.inf
        self._after_s = self._best_s()

    def took(self, choice: Choice, latency_s: float, tick_s: float) -> None:
        """A frame was answered; meanwhile no other one was taken, or after `tick_s`."""
        for_s = max(latency_s, tick_s)
        self._taken.add(latency_s, for_s)
        if not choice.is_local:
            self._sent.add(latency_s, for_s)

    def late(self, now_s: float, now: Present) -> Late:
        """Until then, since it was last asked for, it was as it is now."""
        if now_s > self._at_s > -math.inf:
            for each, times in zip(self._choices, self._would, strict=True):
                times.add(latency_s(each, now), now_s - self._at_s)
        self._at_s = now_s
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._after_s, self._looked_s = self._best_s(), now_s
        near = 2 * self._taken.share_above(self._after_s, SHARE) / SHARE - 1
        return Late(
            self._after_s,
            _MOST_WEIGHT * min(1.0, max(0.0, near)),
            self._sent.share_above(self._after_s, 0.0),
        )

    def _best_s(self) -> float:
        return _MARGIN * min(each.percentile_s() for each in self._would)
