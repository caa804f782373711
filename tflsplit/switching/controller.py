"""Which cut the next frame takes, and why: a pure function of estimates, costs and goal, with hysteresis.

The expectation is over the errors that the last estimates of the link made, so a link that jumps is trusted less than a
steady one with the same mean; what a hedge would save is part of it. A move has to gain, within `dwell_s`, more than it
costs, and more than estimates can tell.
"""

import collections
import math
import statistics
from collections.abc import Sequence

from tflsplit.switching import hedge as switching_hedge
from tflsplit.switching.choices import Choice, Present, latency_s, load_s, loaded
from tflsplit.switching.estimates import Estimates, Memory
from tflsplit.switching.goal import Goal, Outlook, Wish, score
from tflsplit.switching.lateness import Lateness
from tflsplit.switching.policy import Answer, Probing, Waiting
from tflsplit.values.classes import dataclass, field, replace

_STANDARD_ERRORS = 2.0
# By which the least time between two frames may grow with each: what a camera gives now and then is seen again.
_TICK_GROWS = 1.02
# What a report can show, and an edge that runs for years can hold.
_SWITCHES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Tuning:
    """`hedge` is None, or after how many times a frame's expected way to its answer the device computes it too."""

    least_gain: float = 0.02
    dwell_s: float = 2.0
    hedge: float | None = None
    probing: Probing | None = field(default_factory=Probing)
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        if self.hedge is not None:
            switching_hedge.check(self.hedge)


@dataclass(frozen=True, slots=True)
class Switch:
    """A move of the cut. `reason` is what would have had to stay as it was for the cut to stay too."""

    at_s: float
    before: str
    after: str
    reason: str


class Controller:
    """A `policy.Policy`. A move costs what the device takes to load another head, if it has to; `usual` holds before
    anything is known. `seen_at_switch` is what it knew at the last move."""

    def __init__(
        self,
        choices: Sequence[Choice],
        usual: Present,
        goal: Goal,
        tuning: Tuning,
        *,
        start: str | None = None,
    ) -> None:
        self.probing = tuning.probing
        self.estimates = Estimates(usual, tuning.memory, choices)
        self.switches: collections.deque[Switch] = collections.deque(maxlen=_SWITCHES_KEPT)
        self.is_online = True
        self._choices = tuple(choices)
        self._goal = goal
        self._tuning = tuning
        self._lateness = Lateness(self._choices, usual) if goal.wish is Wish.P95 else None
        self._bounds_s: dict[str, float] = {}  # what a hedge leaves of the last frame of each choice
        self._outlook = self._look(-math.inf)
        self._now = next((each for each in choices if each.id == start), None) or self._best(self._choices)
        self._loaded = self._now
        self.seen_at_switch = usual
        self._unusable: dict[str, float] = {}
        self._forbidden: frozenset[str] = frozenset()
        self._picked_s = -math.inf
        self._every_s = self._tick_s = 0.1

    def learn(self, now_s: float, answer: Answer) -> None:
        self.estimates.learn(now_s, answer)
        choice, parts_s = answer.choice, (answer.edge_s, answer.link_s, answer.cloud_wait_s, answer.cloud_s)
        if self._lateness is not None and choice is not None and (choice.is_local or answer.link_s is not None):
            took_s = min(math.fsum(each or 0.0 for each in parts_s), self._bounds_s.get(choice.id, math.inf))
            self._lateness.took(choice, took_s, self._tick_s)

    def pending(self, oldest: Waiting | None) -> None:
        self.estimates.pending = oldest

    def leave_out(self, choice_id: str, until_s: float) -> None:
        """The cloud has no tail of it, or does not say so."""
        self._unusable[choice_id] = until_s

    def forbid(self, choice_ids: frozenset[str]) -> None:
        """Those may not be taken, whatever is left; unless that is nothing."""
        self._forbidden = choice_ids

    def usable(self, now_s: float) -> list[Choice]:
        """What the next frame may take; all that is allowed if nothing could be taken otherwise."""
        allowed = [each for each in self._choices if each.id not in self._forbidden] or list(self._choices)
        found = [
            each
            for each in allowed
            if each.is_local or (self.is_online and self._unusable.get(each.id, -math.inf) <= now_s)
        ]
        return found or allowed

    def pick(self, now_s: float) -> Choice:
        if self._picked_s > -math.inf:
            passed_s = now_s - self._picked_s
            self._every_s += 0.1 * (passed_s - self._every_s)
            self._tick_s = min(_TICK_GROWS * self._tick_s, passed_s)
        self._picked_s = now_s
        self._outlook = self._look(now_s)
        usable = self.usable(now_s)
        best = self._best(usable)
        if best is not self._now and (self._now not in usable or self._is_worth_it(best)):
            reason = self._reason(best, usable)
            self.switches.append(Switch(now_s, self._now.id, best.id, reason))
            self._now, self.seen_at_switch = best, self._outlook.present
            self._loaded = loaded(self._loaded, best)
        if self._lateness is not None and self._tuning.hedge is not None and not self._now.is_local:
            rest_s = self._now.rest_s * self._outlook.present.edge_slower
            self._bounds_s[self._now.id] = self._outlook.hedge_after_s(self._now) + rest_s
        return self._now

    @property
    def now(self) -> Choice:
        """What was picked last."""
        return self._now

    def hedge_after_s(self, choice: Choice) -> float | None:
        return None if self._tuning.hedge is None else self._outlook.hedge_after_s(choice)

    def expected_s(self, choice: Choice) -> float:
        """Its latency as of the last pick."""
        return latency_s(choice, self._outlook.present)

    def _look(self, now_s: float) -> Outlook:
        present = self.estimates.present(now_s)
        late = self._lateness.late(now_s, present) if self._lateness is not None else None
        return Outlook(present, tuple(self.estimates.errors), self._tuning.hedge, late)

    def _best(self, among: Sequence[Choice]) -> Choice:
        return min(among, key=lambda each: score(each, self._outlook, self._goal))

    def _is_worth_it(self, best: Choice) -> bool:
        best_is_late, best_score = score(best, self._outlook, self._goal)
        is_late, now_score = score(self._now, self._outlook, self._goal)
        if is_late != best_is_late:
            return True
        gain = now_score - best_score
        frames = max(1.0, self._tuning.dwell_s / max(self._every_s, 1e-3))
        if gain <= self._tuning.least_gain * now_score + load_s(self._loaded, best) / frames:
            return False
        if self._goal.wish is not Wish.MEAN:
            return True
        # One late answer on a busy machine is no slow link: the gain has to stand out of what the last errors tell.
        far = self._outlook.latencies_s(best if self._now.is_local else self._now)
        return gain > _STANDARD_ERRORS * statistics.pstdev(far) / math.sqrt(len(far))

    def _reason(self, best: Choice, usable: Sequence[Choice]) -> str:
        if self._now not in usable:
            return "offline" if not self.is_online else "tail not ready"
        now, before = self._outlook.present, self.seen_at_switch
        causes = {
            "link": replace(now, s_per_bit=before.s_per_bit, rtt_s=before.rtt_s),
            "server": replace(now, cloud_slower=before.cloud_slower, cloud_wait_s=before.cloud_wait_s),
            "device": replace(now, edge_slower=before.edge_slower),
        }
        gains = {
            cause: score(self._now, self._as(present), self._goal)[1] - score(best, self._as(present), self._goal)[1]
            for cause, present in causes.items()
        }
        # What, had it stayed as it was, would have left the least reason to move.
        return min(gains, key=gains.__getitem__)

    def _as(self, present: Present) -> Outlook:
        return replace(self._outlook, present=present)
