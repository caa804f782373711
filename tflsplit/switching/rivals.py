"""Policies that others published, in the form that they gave them, to be judged beside ours."""

import collections
import math
import statistics
from collections.abc import Sequence

from tflsplit.switching.choices import Choice, Present, latency_s
from tflsplit.switching.policy import Answer, Probing, Waiting


class _Plain:
    """Neither probes nor hedges."""

    probing: Probing | None = None

    def learn(self, now_s: float, answer: Answer) -> None:
        pass

    def pending(self, oldest: Waiting | None) -> None:
        pass

    def hedge_after_s(self, choice: Choice) -> float | None:
        return None


class Static(_Plain):
    """Always the same cut."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice

    def pick(self, now_s: float) -> Choice:
        return self._choice


class Sciot(_Plain):
    """SCIoT (UBICO): moving averages with weight 0.2 for the newest on both sides; a new look where the coefficient of
    variation over ten frames is above 15 %; every tenth frame is forced to be local."""

    _NEWEST, _VARIATION, _LOOK_BACK, _FORCED = 0.2, 0.15, 10, 10

    def __init__(self, choices: Sequence[Choice], usual: Present) -> None:
        self._choices = choices
        self._s_per_bit = usual.s_per_bit
        self._edge_slower = usual.edge_slower
        self._rtt_s = usual.rtt_s
        self._recent: collections.deque[float] = collections.deque(maxlen=self._LOOK_BACK)
        self._now = min(choices, key=lambda each: latency_s(each, usual))
        self._frames = 0

    def learn(self, now_s: float, answer: Answer) -> None:
        if answer.choice is None:
            return
        if answer.choice.edge_s > 0:
            self._edge_slower += self._NEWEST * (answer.edge_s / answer.choice.edge_s - self._edge_slower)
        if answer.link_s is not None:
            seen = max(1e-12, (answer.link_s - self._rtt_s) / answer.bits)
            self._s_per_bit += self._NEWEST * (seen - self._s_per_bit)
            self._recent.append(seen)

    def pick(self, now_s: float) -> Choice:
        self._frames += 1
        local = next((each for each in self._choices if each.is_local), None)
        if local is not None and self._frames % self._FORCED == 0:
            return local
        if len(self._recent) < self._LOOK_BACK or self._varies():
            present = Present(self._s_per_bit, self._rtt_s, self._edge_slower)
            self._now = min(self._choices, key=lambda each: latency_s(each, present))
        return self._now

    def _varies(self) -> bool:
        return statistics.pstdev(self._recent) > self._VARIATION * statistics.fmean(self._recent)


class Percentile(_Plain):
    """The thesis `reliability-aware-split-inference`: the 20th percentile of the last 30 rates, a hold of 30 frames
    after a move, and 8 ms of hysteresis. Its rate is bytes over the whole exchange, the server's work included."""

    _SHARE, _RATES, _HOLD, _HYSTERESIS_S = 0.2, 30, 30, 0.008

    def __init__(self, choices: Sequence[Choice], usual: Present) -> None:
        self._choices = choices
        self._usual = usual
        self._rates_bps: collections.deque[float] = collections.deque(maxlen=self._RATES)
        self._now = min(choices, key=lambda each: latency_s(each, usual))
        self._held = 0

    def learn(self, now_s: float, answer: Answer) -> None:
        if answer.choice is not None and answer.link_s is not None:
            exchange_s = answer.link_s + (answer.cloud_wait_s or 0.0) + (answer.cloud_s or 0.0)
            self._rates_bps.append(answer.bits / max(1e-9, exchange_s))

    def pick(self, now_s: float) -> Choice:
        self._held += 1
        if self._held <= self._HOLD or not self._rates_bps:
            return self._now
        ordered = sorted(self._rates_bps)
        rate_bps = ordered[int(self._SHARE * (len(ordered) - 1))]
        # The server's work is in the rate already.
        present = Present(1 / rate_bps, 0.0, self._usual.edge_slower, cloud_slower=0.0)
        best = min(self._choices, key=lambda each: latency_s(each, present))
        if latency_s(self._now, present) - latency_s(best, present) > self._HYSTERESIS_S:
            self._now, self._held = best, 0
        return self._now


class LinUcb(_Plain):
    """ANS (Zhang et al., WWW 2021): a linear bandit learns what a frame takes from sending on, from each cut's server
    time and bytes; the device's own part is known. Every 25th frame is forced off `output`, which tells it nothing."""

    _ALPHA, _FORCED = 0.1, 25

    def __init__(self, choices: Sequence[Choice], usual: Present) -> None:
        self._choices = choices
        self._edge_slower = usual.edge_slower
        self._inverse = [[float(row == column) for column in range(3)] for row in range(3)]
        self._sums = [0.0, 0.0, 0.0]
        self._most_bits = max(each.wire_bytes for each in choices) * 8 or 1.0
        self._most_s = max(each.cloud_s for each in choices) or 1.0
        self._frames = 0

    def learn(self, now_s: float, answer: Answer) -> None:
        if answer.choice is None or answer.link_s is None:
            return
        seen_s = answer.link_s + (answer.cloud_wait_s or 0.0) + (answer.cloud_s or 0.0)
        features = self._features(answer.choice)
        turned = _times(self._inverse, features)
        scale = 1 + _dot(features, turned)
        # Sherman and Morrison: the inverse after one more outer product.
        self._inverse = [
            [value - left * right / scale for value, right in zip(row, turned, strict=True)]
            for row, left in zip(self._inverse, turned, strict=True)
        ]
        self._sums = [total + seen_s * value for total, value in zip(self._sums, features, strict=True)]

    def pick(self, now_s: float) -> Choice:
        self._frames += 1
        among = self._choices
        if self._frames % self._FORCED == 0:
            among = [each for each in among if not each.is_local] or among
        weights = _times(self._inverse, self._sums)
        return min(among, key=lambda each: self._hoped_s(each, weights))

    def _hoped_s(self, choice: Choice, weights: Sequence[float]) -> float:
        edge_s = choice.edge_s * self._edge_slower
        if choice.is_local:
            return edge_s
        features = self._features(choice)
        unsure = math.sqrt(max(0.0, _dot(features, _times(self._inverse, features))))
        return edge_s + _dot(weights, features) - self._ALPHA * unsure

    def _features(self, choice: Choice) -> list[float]:
        return [1.0, choice.wire_bytes * 8 / self._most_bits, choice.cloud_s / self._most_s]


def _times(matrix: Sequence[Sequence[float]], vector: Sequence[float]) -> list[float]:
    return [_dot(row, vector) for row in matrix]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))
