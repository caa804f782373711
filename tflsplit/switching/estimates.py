"""What a device knows of its link, the server and itself: one estimate for each cause, from its own frames and probes.

Each answer says how long the server waited and worked, so what is left is the link's; no two clocks are compared. Small
messages tell the round trip, large ones the rate. What was learnt grows old, and gives way to what is usual here.
"""

import collections
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tflsplit.switching.choices import Present
from tflsplit.switching.policy import Answer

# A message smaller than a packet tells the round trip, and nothing of the rate.
_PACKET_BITS = 1500 * 8
_ROUND_TRIPS = 4
# What is expected of a link that was not seen yet: measured over expected times.
_ERRORS_AT_FIRST = (0.7, 0.85, 1.0, 1.0, 1.2, 1.5)
# No link known carries more; a shorter time comes from a clock that is too coarse.
_LEAST_S_PER_BIT = 1e-11


@dataclass(frozen=True, slots=True)
class Memory:
    """How much the newest measurement of the link counts, of the machines; after how many seconds half of what was
    learnt of link and server is forgotten; and how many errors of the last estimates are kept. Probes tell of the link
    while nothing is sent, and nobody of the server: so it is tried again sooner."""

    newest_link: float = 0.7
    newest_machine: float = 0.3
    half_life_s: float = 20.0
    server_half_life_s: float = 6.0
    errors: int = 40


class Estimates:
    """`usual` is what holds where nothing was measured: the plan's link and the profiled machines."""

    def __init__(self, usual: Present, memory: Memory) -> None:
        self._usual = usual
        self._memory = memory
        self._learnt = usual
        self._pending: tuple[float, float] | None = None
        self._link_at_s = self._cloud_at_s = -math.inf
        self._round_trips: collections.deque[float] = collections.deque(maxlen=_ROUND_TRIPS)
        self._errors: collections.deque[float] = collections.deque(_ERRORS_AT_FIRST, maxlen=memory.errors)

    @property
    def errors(self) -> Sequence[float]:
        """By which factors the last estimates of the link's time were wrong, the measured over the expected."""
        return self._errors

    def learn(self, now_s: float, answer: Answer) -> None:
        choice, learnt, share = answer.choice, self._learnt, self._memory.newest_machine
        if choice is not None and choice.edge_s > 0:
            slower = _mean(learnt.edge_slower, answer.edge_s / choice.edge_s, share)
            learnt = replace(learnt, edge_slower=slower)
        if answer.cloud_wait_s is not None:
            learnt = replace(learnt, cloud_wait_s=_mean(learnt.cloud_wait_s, answer.cloud_wait_s, share))
            self._cloud_at_s = now_s
        if answer.cloud_s is not None and choice is not None and choice.cloud_s > 0:
            slower = _mean(learnt.cloud_slower, answer.cloud_s / choice.cloud_s, share)
            learnt = replace(learnt, cloud_slower=slower)
            self._cloud_at_s = now_s
        self._learnt = learnt
        if answer.link_s is not None:
            self._learn_link(now_s, answer.link_s, answer.bits)

    def pending(self, since_s: float | None, bits: float) -> None:
        self._pending = None if since_s is None else (since_s, bits)

    def present(self, now_s: float) -> Present:
        known = self._aged(now_s)
        if self._pending is None:
            return known
        since_s, bits = self._pending
        at_least = (now_s - since_s - known.rtt_s) / max(bits, _PACKET_BITS)
        return replace(known, s_per_bit=max(known.s_per_bit, at_least))

    def _aged(self, now_s: float) -> Present:
        """What was learnt, as far as it is not too old, without what is still on its way."""
        learnt, usual = self._learnt, self._usual
        link_left = _left(now_s - self._link_at_s, self._memory.half_life_s)
        cloud_left = _left(now_s - self._cloud_at_s, self._memory.server_half_life_s)
        return Present(
            _log_mean(usual.s_per_bit, learnt.s_per_bit, link_left),
            learnt.rtt_s,
            learnt.edge_slower,
            _mean(usual.cloud_slower, learnt.cloud_slower, cloud_left),
            _mean(usual.cloud_wait_s, learnt.cloud_wait_s, cloud_left),
        )

    def _learn_link(self, now_s: float, link_s: float, bits: float) -> None:
        if bits < _PACKET_BITS or link_s < self._learnt.rtt_s:
            # The shortest of the last: what took longer waited for something.
            self._round_trips.append(link_s)
            self._learnt = replace(self._learnt, rtt_s=min(self._round_trips))
        if bits < _PACKET_BITS:
            return
        known = self._aged(now_s)
        self._errors.append(link_s / (known.rtt_s + bits * known.s_per_bit))
        seen = max(_LEAST_S_PER_BIT, (link_s - known.rtt_s) / bits)
        self._learnt = replace(self._learnt, s_per_bit=_log_mean(known.s_per_bit, seen, self._memory.newest_link))
        self._link_at_s = now_s


def _left(age_s: float, half_life_s: float) -> float:
    return math.pow(0.5, max(0.0, age_s) / half_life_s)


def _mean(before: float, newest: float, share: float) -> float:
    return (1 - share) * before + share * newest


def _log_mean(before: float, newest: float, share: float) -> float:
    """Rates are known by their order of magnitude: a link that was dead for a minute is not slow for the next one."""
    return math.exp(_mean(math.log(before), math.log(newest), share))
