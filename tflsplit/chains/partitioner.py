"""The best partition of a model over the machines of a chain, found exactly.

The search of placements (`placement.searching.labels`) where each machine has its turn once, in order, and all of
what is then run: a label counts one number. Both sums (latency) and maxima (the slowest stage) only grow with each
piece, so nothing better is missed; a test compares with trying everything. Pure.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tflsplit.chains import chain as chains
from tflsplit.chains.chain import Chain, Partition
from tflsplit.graph.tensors import Array
from tflsplit.placement.searching import labels
from tflsplit.placement.searching.labels import Labels
from tflsplit.values.classes import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Terms:
    """What every partition must fulfil. `uses_all` leaves no stage out; `pins` gives the stage that has to run a step
    (the operators between a place and the next); no stage or link takes longer than `most_s` for a frame.
    """

    uses_all: bool = False
    pins: Mapping[int, int] = field(default_factory=dict)
    most_s: float = math.inf


FREE = Terms()


def fastest(chain: Chain, *, count: int = 1, terms: Terms = FREE) -> list[Partition]:
    """The partitions of least latency, best first; none if no machine can hold its piece or the terms cannot be met."""
    return _Turns(chain, count, terms, np.add).best()


def by_slowest(chain: Chain, *, count: int = 1, terms: Terms = FREE) -> list[Partition]:
    """The partitions whose slowest stage or link is fastest, best first, whatever their latency."""
    return _Turns(chain, count, terms, np.maximum).best()


def smoothest(chain: Chain, *, terms: Terms = FREE) -> Partition | None:
    """The partition whose slowest stage or link is fastest, and of those that tie the one of least latency."""
    found = by_slowest(chain, terms=terms)
    if not found:
        return None
    # Sums in another order may differ in the last digits, which must not break a tie.
    limit_s = min(terms.most_s, found[0].slowest_s * (1 + 1e-9))
    tied = _Turns(chain, 1, replace(terms, most_s=limit_s), np.add).best()
    return tied[0] if tied else found[0]


@dataclass(frozen=True, slots=True)
class _Timed(Labels):
    seconds: Array


class _Turns:
    """A step is a stage, with the places that it may run up to as states; at the last the result is where it began."""

    def __init__(self, chain: Chain, count: int, terms: Terms, combine: np.ufunc) -> None:
        self._chain, self._count, self._terms, self._combine = chain, count, terms, combine
        self._stages, self._places = len(chain.stages), np.arange(len(chain.places))

    def best(self) -> list[Partition]:
        none = np.zeros(1, int)
        begin = _Timed(none, none, none, np.zeros(1))
        found = labels.best(begin, self._into, self._stages + 2, lambda ends: ends.seconds, self._count)
        # At the last step the result has come back, and nothing is run.
        ways = [itertools.pairwise(way[:-1]) for _, way in found]
        return [chains.partition(self._chain, [(step - 1, a, b) for (_, a), (step, b) in way]) for way in ways]

    def _into(self, at: Sequence[_Timed], step: int) -> _Timed:
        stage, sizes = step - 1, [len(before.states) for before in at]
        arrived_s = [
            self._combine(before.seconds, self._arrival_s(source, stage)[before.states])
            for source, before in enumerate(at, -1)
        ]
        runs_s = self._runs_s(stage)[np.concatenate([before.states for before in at])]
        reached_s = self._combine(np.concatenate(arrived_s)[:, None], runs_s)
        if self._count == 1:  # the least is found sooner than an order
            order = reached_s.argmin(axis=0)[None]
        else:
            order = np.argsort(reached_s, axis=0, kind="stable")[: self._count]
        seconds = np.take_along_axis(reached_s, order, axis=0).ravel()
        steps, before = np.repeat(np.arange(step), sizes), np.concatenate([np.arange(size) for size in sizes])
        states = np.tile(self._places[-reached_s.shape[1] :], len(order))
        return _Timed(states, steps[order.ravel()], before[order.ravel()], seconds)

    def _runs_s(self, stage: int) -> Array:
        """(start, stop) → seconds of the piece; infinite where it is not allowed, does not fit or takes too long."""
        chain, terms, count = self._chain, self._terms, len(self._places)
        if stage == self._stages:
            return np.where(self._places < count - 1, np.inf, 0.0)[:, None]
        piece = chains.piece(chain, stage, stage, *np.ogrid[:count, :count])
        stage_s: Array = piece.stage_s
        is_allowed = np.triu(piece.parameter_bytes <= chain.stages[stage].memory_bytes, 1)
        if not terms.uses_all:
            # The two pieces that run nothing: the first machine sends the input, another receives a finished result.
            is_allowed[0, 0] = stage == 0
            is_allowed[-1, -1] = stage > 0 and chain.delivered
        for step, pinned in terms.pins.items():
            if pinned != stage:
                is_allowed[: step + 1, step + 1 :] = False
        return np.where(is_allowed & (stage_s <= terms.most_s), stage_s, np.inf)

    def _arrival_s(self, source: int, stage: int) -> Array:
        """Seconds until a stage has what another holds at each place; for maxima, of the busiest link."""
        chain, terms, is_sum = self._chain, self._terms, self._combine is np.add
        seconds, is_allowed = np.zeros(len(self._places)), np.zeros(len(self._places), bool)
        if source < 0:
            is_allowed[0] = stage == 0  # the first machine has the inputs
        elif stage == self._stages:
            seconds += chain.back_s(source) * is_sum
            is_allowed[-1] = (source == stage - 1 or not terms.uses_all) and (source > 0 or not chain.delivered)
        elif source == stage - 1 or not terms.uses_all:
            came = chains.piece(chain, source, stage, self._places, self._places)
            seconds, is_allowed = came.hop_s if is_sum else came.hop_busy_s, came.hop_busy_s <= terms.most_s
            # A result that has to be delivered comes from the first machine; a later one has it already.
            is_allowed[-1] &= source == 0
        return np.where(is_allowed, seconds, np.inf)
