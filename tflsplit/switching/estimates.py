"""What a device knows of its link, the server and itself: one estimate for each cause, from its own frames and probes.

Each answer says how long the server waited and worked, so what is left is the link's; no two clocks are compared. Small
messages tell the round trip, large ones the rate. What was learnt grows old, and gives way to what is usual here.
"""

import collections
import math
import statistics
from collections.abc import Sequence

from tflsplit.switching.choices import Choice, Present
from tflsplit.switching.policy import LEAST_TELLING_BITS, Answer, Waiting
from tflsplit.values.classes import dataclass, replace

_ROUND_TRIPS = 4
# What is expected of a link that was not seen yet: measured over expected times.
_ERRORS_AT_FIRST = (0.7, 0.85, 1.0, 1.0, 1.2, 1.5)
# Where a machine's part of a cut is less than this share of its largest part, what every frame costs besides the model
# would pass for a slow machine.
_LEAST_PART = 0.15
# Round trips differ by such a share from one to the next on a link in good order, and on a busy machine by what the
# last ones did: what a message takes beyond one tells the rate only above it.
_JITTER = 0.03
# No link known carries more; a shorter time comes from a clock that is too coarse.
_LEAST_S_PER_BIT = 1e-11
# What a scheduler and Python add to a time: work that takes no longer tells little of how slow a machine is.
_NOISE_S = 0.001
# What others say is believed within this factor of what is usual, and times up to so many seconds.
_MOST_TIMES, _MOST_WAIT_S = 100.0, 10.0


@dataclass(frozen=True, slots=True)
class Memory:
    """How much the newest measurement of the link counts, of the machines; after how many seconds half of what was
    learnt of each is forgotten; and how many errors of the last estimates are kept. Probes tell of the link while
    nothing is sent, and nobody of the server: so it is tried again sooner. A device cools down in minutes."""

    newest_link: float = 0.7
    newest_machine: float = 0.3
    half_life_s: float = 20.0
    server_half_life_s: float = 6.0
    device_half_life_s: float = 60.0
    errors: int = 40


class Estimates:
    """`usual` is what holds where nothing was measured: the plan's link and the profiled machines. `pending` is what
    waits for its answer."""

    def __init__(self, usual: Present, memory: Memory, choices: Sequence[Choice]) -> None:
        self.pending: Waiting | None = None
        self._usual = usual
        self._edge_s = _LEAST_PART * max((each.edge_s for each in choices), default=0.0)
        self._cloud_s = _LEAST_PART * max((each.cloud_s for each in choices), default=0.0)
        self._memory = memory
        self._learnt, self._learnt_at_s = usual, -math.inf
        self._round_trips: collections.deque[tuple[float, bool]] = collections.deque(maxlen=_ROUND_TRIPS)  # is it small
        self._measured: set[str] = set()  # what was, of link, server and device
        self._errors: collections.deque[float] = collections.deque(_ERRORS_AT_FIRST, maxlen=memory.errors)

    @property
    def errors(self) -> Sequence[float]:
        """By which factors the last estimates of the link's time were wrong, the measured over the expected."""
        return self._errors

    @property
    def is_link_measured(self) -> bool:
        return "link" in self._measured

    def begin(self, at_s: float, told: Present) -> None:
        """From what others like this device have measured then, as far as it has not measured itself. They may be
        wrong, or lie: what is beyond all reason is cut off, and the rest gives way to the first measurements here."""
        usual, now = self._usual, self.known(at_s)
        if "link" not in self._measured:
            s_per_bit = _within(told.s_per_bit, usual.s_per_bit)
            now = replace(now, s_per_bit=s_per_bit, rtt_s=min(told.rtt_s, _MOST_WAIT_S))
        if "server" not in self._measured:
            slower = _within(told.cloud_slower, usual.cloud_slower)
            now = replace(now, cloud_slower=slower, cloud_wait_s=min(told.cloud_wait_s, _MOST_WAIT_S))
        if "device" not in self._measured:
            now = replace(now, edge_slower=_within(told.edge_slower, usual.edge_slower))
        self._learnt, self._learnt_at_s = now, max(at_s, self._learnt_at_s) if self._measured else at_s

    def learn(self, now_s: float, answer: Answer) -> None:
        known, choice, share = self.known(now_s), answer.choice, self._memory.newest_machine
        if choice is not None and choice.edge_s >= self._edge_s:
            slower = _slowness(known.edge_slower, answer.edge_s, choice.edge_s, share)
            known = replace(known, edge_slower=slower)
            self._measured.add("device")
        if answer.cloud_wait_s is not None:
            known = replace(known, cloud_wait_s=_mean(known.cloud_wait_s, answer.cloud_wait_s, share))
        if answer.cloud_s is not None and choice is not None and choice.cloud_s >= self._cloud_s:
            slower = _slowness(known.cloud_slower, answer.cloud_s, choice.cloud_s, share)
            known = replace(known, cloud_slower=slower)
            self._measured.add("server")
        if answer.link_s is not None:
            known = self._of_link(known, answer.link_s, answer.bits, is_given_up=answer.is_given_up)
        # Forgetting is exponential: to begin from what is left now is to go on as before.
        self._learnt, self._learnt_at_s = known, now_s

    def present(self, now_s: float) -> Present:
        """What is known, and what a message that is overdue tells before its answer."""
        known, oldest = self.known(now_s), self.pending
        if oldest is None:
            return known
        out_s = now_s - oldest.since_s - oldest.work_s * known.cloud_slower
        if oldest.passed_s is None:
            at_least = (out_s - known.cloud_wait_s - known.rtt_s) / max(oldest.bits, LEAST_TELLING_BITS)
            return replace(known, s_per_bit=max(known.s_per_bit, at_least))
        link_s = min(known.rtt_s + oldest.bits * known.s_per_bit, oldest.passed_s - oldest.since_s)
        return replace(known, cloud_wait_s=max(known.cloud_wait_s, out_s - link_s))

    def known(self, now_s: float) -> Present:
        """What was learnt, as far as it is not too old, without what is still on its way."""
        age_s, learnt, usual, memory = now_s - self._learnt_at_s, self._learnt, self._usual, self._memory
        link_left = _left(age_s, memory.half_life_s)
        cloud_left = _left(age_s, memory.server_half_life_s)
        edge_left = _left(age_s, memory.device_half_life_s)
        return Present(
            _log_mean(usual.s_per_bit, learnt.s_per_bit, link_left),
            learnt.rtt_s,
            _mean(usual.edge_slower, learnt.edge_slower, edge_left),
            _mean(usual.cloud_slower, learnt.cloud_slower, cloud_left),
            _mean(usual.cloud_wait_s, learnt.cloud_wait_s, cloud_left),
        )

    def _of_link(self, known: Present, link_s: float, bits: float, *, is_given_up: bool) -> Present:
        # One that was quicker than a small one of ours says by how much, at least, the round trip was too long.
        too_long_s = known.rtt_s - link_s if self._round_trips else 0.0
        if bits < LEAST_TELLING_BITS or link_s < known.rtt_s:
            # The shortest of the last: what took longer waited for something.
            self._round_trips.append((link_s, bits < LEAST_TELLING_BITS))
            known = replace(known, rtt_s=min(took_s for took_s, _ in self._round_trips))
        doubt_s = max(_JITTER * known.rtt_s, too_long_s, self._spread_s)
        if bits < LEAST_TELLING_BITS:
            return known
        self._measured.add("link")
        if not is_given_up:  # it was not late: nobody waits for it, and a dead link would outweigh 40 good answers
            self._errors.append(link_s / (known.rtt_s + bits * known.s_per_bit))
        untold = min(known.s_per_bit, doubt_s / bits)
        seen = max(_LEAST_S_PER_BIT, untold, (link_s - known.rtt_s) / bits)
        return replace(known, s_per_bit=_log_mean(known.s_per_bit, seen, self._memory.newest_link))

    @property
    def _spread_s(self) -> float:
        """By how much small messages as a rule exceed the shortest of the last; all of one that nothing confirms."""
        seen = [took_s for took_s, is_small in self._round_trips if is_small]
        if len(seen) < 2:
            return sum(seen)
        return statistics.median_low(seen) - min(seen)


def _slowness(before: float, took_s: float, profiled_s: float, share: float) -> float:
    """Weighed by how much more than noise the time is."""
    if profiled_s <= 0:
        return before
    return _mean(before, took_s / profiled_s, share * profiled_s**2 / (profiled_s**2 + _NOISE_S**2))


def _within(told: float, usual: float) -> float:
    return min(max(told, usual / _MOST_TIMES), usual * _MOST_TIMES)


def _left(age_s: float, half_life_s: float) -> float:
    return math.pow(0.5, max(0.0, age_s) / half_life_s)


def _mean(before: float, newest: float, share: float) -> float:
    return (1 - share) * before + share * newest


def _log_mean(before: float, newest: float, share: float) -> float:
    """Rates are known by their order of magnitude: a link that was dead for a minute is not slow for the next one."""
    return math.exp(_mean(math.log(before), math.log(newest), share))
