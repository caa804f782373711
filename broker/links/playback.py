"""A link that is as a trace says: when bytes that enter it now leave it. Pure: no clock, no I/O."""

import random

from tflsplit.planning import network
from tflsplit.switching.traces import Trace
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Play:
    """`rtt_s` holds where the trace says nothing of it. The trace is of what a device sends: what comes back takes half
    the round trip, whatever its size."""

    trace: Trace
    rtt_s: float

    def half_trip_s(self, at_s: float) -> float:
        said = self.trace.conditions_at(at_s).rtt_s
        return (self.rtt_s if said is None else said) / 2


class Up:
    """What a device sends; the trace begins at `starts_s`. Times never go back.

    Given are bytes of a TCP stream, which travel in packets with headers. A lost packet is sent again, and what is
    behind it waits: a round trip, or TCP's timer where nothing is behind it (`network.sending_again`).
    """

    def __init__(self, play: Play, starts_s: float, randomness: random.Random) -> None:
        self._play = play
        self._starts_s = starts_s
        self._randomness = randomness
        self._free_at_s = 0.0
        self._last_out_s = 0.0

    def out_at_s(self, now_s: float, count_bytes: int) -> float:
        """When the last of `count_bytes` that enter now leaves the link."""
        if count_bytes:
            arrives_s = self._starts_s + self._arrives_s(max(0.0, now_s - self._starts_s), count_bytes)
            self._last_out_s = max(self._last_out_s, arrives_s)
        return max(now_s, self._last_out_s)

    def _arrives_s(self, at_s: float, count_bytes: int) -> float:
        said, half_s = self._play.trace.conditions_at(at_s), self._play.half_trip_s(at_s)
        bits = network.with_headers(count_bytes) * 8 / (1 - said.loss)
        self._free_at_s = self._play.trace.arrival_s(max(at_s, self._free_at_s), bits)
        again_s, share = network.sending_again(network.segments(count_bytes), said.loss, 2 * half_s)
        is_lost = said.loss > 0.0 and self._randomness.random() < share
        return self._free_at_s + half_s + (again_s if is_lost else 0.0)


class Down:
    """What comes back."""

    def __init__(self, play: Play, starts_s: float) -> None:
        self._play = play
        self._starts_s = starts_s
        self._last_out_s = 0.0

    def out_at_s(self, now_s: float, count_bytes: int) -> float:
        """When the last of `count_bytes` that enter now leaves the link."""
        if count_bytes:
            half_s = self._play.half_trip_s(max(0.0, now_s - self._starts_s))
            self._last_out_s = max(self._last_out_s, now_s + half_s)
        return max(now_s, self._last_out_s)
