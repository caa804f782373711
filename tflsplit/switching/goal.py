"""How good a choice is expected to be: what the objective counts, over what the link may turn out to be."""

import math
from collections.abc import Sequence
from enum import Enum

from tflsplit.planning.scenario import Power, Prices
from tflsplit.switching.choices import Choice, Present, latency_s
from tflsplit.switching.lateness import Late
from tflsplit.values.classes import dataclass, field

# A device that computes a frame itself is not done when the link is back: of what is late in any case, one that is
# sent may take so many times as long.
_ENDS_WITH_THE_LINK = 2.0


class Wish(str, Enum):
    MEAN = "mean"
    P95 = "p95"
    BYTES = "bytes"
    ENERGY = "energy"
    PRICE = "price"


@dataclass(frozen=True, slots=True)
class Goal:
    """The least of `wish` among the choices that are expected to take no longer than `max_latency_s`; where none is,
    the fastest. `power` and `prices` are needed by the wishes that count them."""

    wish: Wish = Wish.MEAN
    max_latency_s: float | None = None
    power: Power | None = None
    prices: Prices = field(default_factory=Prices)


@dataclass(frozen=True, slots=True)
class Outlook:
    """`present` is the best guess, `errors` by which factors the link's last guesses were wrong; with `hedge` a frame
    is computed on the device too once that share of its expected way has passed; `late` is for the 95th percentile."""

    present: Present
    errors: Sequence[float]
    hedge: float | None
    late: Late | None = None

    def latencies_s(self, choice: Choice) -> list[float]:
        """As many as there are errors, each as likely as the others."""
        now = self.present
        expected_s = latency_s(choice, now)
        if choice.is_local:
            return [expected_s]
        link_s = choice.wire_bytes * 8 * now.s_per_bit + now.rtt_s
        other_s = expected_s - link_s
        found = [other_s + link_s * error for error in self.errors]
        if self.hedge is None:
            return found
        here_s = self.hedge_after_s(choice) + choice.rest_s * now.edge_slower
        return [min(here_s, each) for each in found]

    def hedge_after_s(self, choice: Choice) -> float:
        """From taking the frame. The share is of the way from sending to the answer."""
        edge_s = choice.edge_s * self.present.edge_slower
        return edge_s + (self.hedge or 0.0) * (latency_s(choice, self.present) - edge_s)


def score(choice: Choice, outlook: Outlook, goal: Goal) -> tuple[bool, float]:
    """Less is better: first whether the bound on latency is missed."""
    latencies = outlook.latencies_s(choice)
    mean_s = math.fsum(latencies) / len(latencies)
    is_late = goal.max_latency_s is not None and mean_s > goal.max_latency_s
    if goal.wish is Wish.MEAN or is_late:
        return is_late, mean_s
    if goal.wish is Wish.P95:
        return is_late, mean_s + (_lateness_s(choice, latencies, mean_s, outlook.late) if outlook.late else 0.0)
    if goal.wish is Wish.ENERGY and goal.power is not None:
        # At rest it draws power in any case; what a choice adds is the difference while it works.
        added_w = goal.power.active_w - goal.power.idle_w
        return is_late, added_w * choice.edge_s * outlook.present.edge_slower
    if goal.wish is Wish.PRICE:
        by_gb, by_hour = goal.prices.per_gb or 0.0, goal.prices.per_cloud_hour or 0.0
        return is_late, choice.wire_bytes / 1e9 * by_gb + choice.cloud_s / 3600 * by_hour
    return is_late, choice.wire_bytes


def _lateness_s(choice: Choice, latencies: Sequence[float], mean_s: float, late: Late) -> float:
    """What it costs that a frame may be late, on top of its mean."""
    share = sum(each > late.after_s for each in latencies) / len(latencies)
    if not choice.is_local:
        return late.weight * late.after_s * max(share, late.risk)
    return late.weight * late.after_s * share + (_ENDS_WITH_THE_LINK - 1) * mean_s * share
