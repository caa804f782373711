"""The best partition of a model over the machines of a chain, found exactly.

Dynamic programming over (machine, place): the best partition of everything before a place whose last machine is this
one extends a best partition of less whose last machine is an earlier one. Both sums (latency) and maxima (the slowest
stage) only grow with each piece, so nothing better is missed; a test compares with trying everything. Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tflsplit.chains import chain as chains
from tflsplit.chains.chain import Chain, Partition
from tflsplit.graph.tensors import Array


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
    return _Search(chain, count, terms, np.add).best()


def by_slowest(chain: Chain, *, count: int = 1, terms: Terms = FREE) -> list[Partition]:
    """The partitions whose slowest stage or link is fastest, best first, whatever their latency."""
    return _Search(chain, count, terms, np.maximum).best()


def smoothest(chain: Chain, *, terms: Terms = FREE) -> Partition | None:
    """The partition whose slowest stage or link is fastest, and of those that tie the one of least latency."""
    found = by_slowest(chain, terms=terms)
    if not found:
        return None
    # Sums in another order may differ in the last digits, which must not break a tie.
    limit_s = min(terms.most_s, found[0].slowest_s * (1 + 1e-9))
    tied = _Search(chain, 1, replace(terms, most_s=limit_s), np.add).best()
    return tied[0] if tied else found[0]


class _Search:
    """`values[s]` (rank, place): the best `count` costs of everything before a place with stage s last."""

    def __init__(self, chain: Chain, count: int, terms: Terms, combine: np.ufunc) -> None:
        self._chain = chain
        self._count = count
        self._terms = terms
        self._combine = combine
        self._last = len(chain.places) - 1
        self._values: list[Array] = []
        # For each stage, (rank, place) → the row it came from, and each row's (stage, rank, start); stage -1 begins.
        self._came: list[Array] = []
        self._rows: list[list[tuple[int, int, int]]] = []

    def best(self) -> list[Partition]:
        for stage in range(len(self._chain.stages)):
            self._extend_to(stage)
        ends = [
            (float(values[rank, self._last]) + self._back_s(stage), stage, rank)
            for stage, values in enumerate(self._values)
            if self._may_end_at(stage)
            for rank in range(len(values))
        ]
        found = sorted(end for end in ends if math.isfinite(end[0]))[: self._count]
        return [self._trace(stage, rank) for _, stage, rank in found]

    def _may_end_at(self, stage: int) -> bool:
        is_last = stage == len(self._values) - 1
        return (is_last or not self._terms.uses_all) and (stage > 0 or not self._chain.delivered)

    def _back_s(self, stage: int) -> float:
        if self._combine is np.maximum:
            return 0.0
        return math.fsum(hop.back_s for hop in self._chain.route(0, stage))

    def _extend_to(self, stage: int) -> None:
        runs = self._runs(stage)
        if stage == 0:
            self._keep(runs[:1], [(-1, 0, 0)])
            return
        blocks: list[Array] = []
        rows: list[tuple[int, int, int]] = []
        for source in range(stage - 1 if self._terms.uses_all else 0, stage):
            arrival = self._arrival(source, stage)
            for rank, values in enumerate(self._values[source]):
                block = self._combine(self._combine(values, arrival)[:, None], runs)
                if source > 0:
                    # A result that has to be delivered comes from the first machine; a later one has it already.
                    block[self._last, self._last] = np.inf
                blocks.append(block)
                rows += [(source, rank, start) for start in range(self._last + 1)]
        self._keep(np.vstack(blocks), rows)

    def _keep(self, stacked: Array, rows: list[tuple[int, int, int]]) -> None:
        kept = min(self._count, len(stacked))
        order = np.argmin(stacked, axis=0)[None] if kept == 1 else np.argsort(stacked, axis=0, kind="stable")[:kept]
        self._came.append(order)
        self._values.append(np.take_along_axis(stacked, order, axis=0))
        self._rows.append(rows)

    def _runs(self, stage: int) -> Array:
        """(start, stop) → seconds of the piece; infinite where it is not allowed, does not fit or takes too long."""
        chain, machine = self._chain, self._chain.stages[stage]
        compute_s = np.array(machine.compute_s)
        weights = np.subtract.outer(chain.parameter_bytes, chain.parameter_bytes).T
        runs: Array = np.maximum(0.0, compute_s[None, :] - compute_s[:, None])
        if stage == 0:
            runs = runs + chain.preprocess_s
        if machine.coding_s:
            takes_in, sends_on = np.array(machine.coding_s) * (stage > 0), np.array(machine.coding_s)
            sends_on[-1] *= stage == 0 and chain.delivered
            runs = runs + takes_in[:, None] + sends_on[None, :]
        if machine.cache is not None:
            runs = runs + np.maximum(0.0, weights - machine.cache.bytes) / machine.cache.stream_bytes_per_s
        is_barred = ~np.triu(np.ones(runs.shape, bool), 1)
        if not self._terms.uses_all:
            # The two pieces that run nothing: the first machine sends the input, another receives a finished result.
            is_barred[0, 0] = stage > 0
            is_barred[-1, -1] = stage == 0 or not chain.delivered
        for step, pinned in self._terms.pins.items():
            if pinned != stage:
                is_barred[: step + 1, step + 1 :] = True
        return np.where(is_barred | (weights > machine.memory_bytes) | (runs > self._terms.most_s), np.inf, runs)

    def _arrival(self, source: int, stage: int) -> Array:
        """Seconds that each place's boundary takes from one stage to the other; for maxima, of the busiest link."""
        route, crossing = self._chain.route(source, stage), tuple(enumerate(self._chain.wire_bytes))
        busiest = np.array([[hop.busy_s(*at) for at in crossing] for hop in route]).max(axis=0)
        if self._combine is np.maximum:
            return np.where(busiest > self._terms.most_s, np.inf, busiest)
        taken = np.array([[hop.latency_s(*at) for at in crossing] for hop in route]).sum(axis=0)
        return np.where(busiest > self._terms.most_s, np.inf, taken)

    def _trace(self, stage: int, rank: int) -> Partition:
        shares: list[tuple[int, int, int]] = []
        stop = self._last
        while stage >= 0:
            before, before_rank, start = self._rows[stage][int(self._came[stage][rank, stop])]
            shares.append((stage, start, stop))
            stage, rank, stop = before, before_rank, start
        return chains.partition(self._chain, shares[::-1])
