"""How far bandwidth, rate or price of data would have to move before the answer turns from not splitting to splitting,
or back, or before nothing meets the constraints: found by trying.
"""

import math
from collections.abc import Callable, Sequence

from tflsplit.planning.candidates import Candidate
from tflsplit.planning.decision import Goal
from tflsplit.planning.scenario import Scenario
from tflsplit.planning.shortlist import Shortlist
from tflsplit.values.classes import dataclass, replace

# A thousandth to a thousand times today's value, five tries a factor of ten; then halved to within a thousandth.
_DECADES, _TRIES_A_DECADE = 3, 5
_HALVINGS = 9


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The value nearest to today's (by factor) at which the pick becomes `choice`, None for no feasible candidate."""

    value: float
    choice: str | None
    is_split: bool


def find(candidates: Sequence[Candidate], scenario: Scenario, goal: Goal) -> dict[str, BreakEven | None]:
    """Keys: `bandwidth_bps`, `rate_fps`, `price_per_gb`; None where the answer stays over the range tried."""
    shortlist = Shortlist(candidates)
    link, work, prices = scenario.link, scenario.workload, scenario.prices

    def at_bandwidth(value: float) -> tuple[Scenario, Goal]:
        # A measured link's points are of its own bandwidth; at another they would contradict it.
        return replace(scenario, link=replace(link, bandwidth_bps=value, points=())), goal

    def at_rate(value: float) -> tuple[Scenario, Goal]:
        # The window, too, has to keep up with it, which is no stage that frames queue at.
        asked = replace(goal, constraints=replace(goal.constraints, fps=value))
        return replace(scenario, workload=replace(work, rate_fps=value)), asked

    def at_price(value: float) -> tuple[Scenario, Goal]:
        return replace(scenario, prices=replace(prices, per_gb=value)), goal

    return {
        "bandwidth_bps": _nearest(shortlist, at_bandwidth, link.bandwidth_bps),
        "rate_fps": _nearest(shortlist, at_rate, scenario.counted_fps),
        "price_per_gb": _nearest(shortlist, at_price, prices.per_gb) if prices.per_gb else None,
    }


def _nearest(shortlist: Shortlist, at: Callable[[float], tuple[Scenario, Goal]], today: float) -> BreakEven | None:
    def answer(value: float) -> tuple[str | None, bool | None]:
        found = shortlist.pick(*at(value))
        return (found.candidate.id, found.candidate.is_split) if found else (None, None)

    splits_today = answer(today)[1]
    for step in range(1, _DECADES * _TRIES_A_DECADE + 1):
        for sign in (1, -1):
            factor = 10 ** (sign * step / _TRIES_A_DECADE)
            if answer(today * factor)[1] != splits_today:
                before = 10 ** (sign * (step - 1) / _TRIES_A_DECADE)
                return _between(answer, today * before, today * factor, splits_today)
    return None


def _between(
    answer: Callable[[float], tuple[str | None, bool | None]], same: float, other: float, splits_today: bool | None
) -> BreakEven:
    for _ in range(_HALVINGS):
        middle = math.sqrt(same * other)
        if answer(middle)[1] == splits_today:
            same = middle
        else:
            other = middle
    choice, is_split = answer(other)
    return BreakEven(other, choice, bool(is_split))
