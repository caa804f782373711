"""Several machines in a row, each running the next piece of the model: which piece to which, found exactly.

Dynamic programming over (machine, place): the best way to have done everything before a place with this machine last
extends the best ways to have done less with an earlier one. Both sums (latency) and maxima (the slowest stage) only
grow along the way, so nothing better is missed; a test compares with trying everything. Pure.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tflsplit import errors
from tflsplit.measurements import Origin
from tflsplit.tensors import Array


@dataclass(frozen=True, slots=True)
class Cache:
    """An accelerator's memory for weights: what a piece has beyond `bytes` is streamed in at each inference."""

    bytes: float
    stream_bytes_per_s: float


# 8 MB less what the executable takes; streaming as public timings over USB 3 suggest (Coral's benchmark page: VGG16,
# VGG19, ResNet-50 and -152 and Inception v4 lie within 350 and 440 MB/s).
EDGE_TPU = Cache(8e6, 400e6)


@dataclass(frozen=True, slots=True)
class Stage:
    """One machine. `compute_s[k]` is what everything before place k takes it, weights in reach; it never falls.

    `coding_s[k]` is what sending or taking in the boundary at place k takes. `memory_bytes` bounds a piece's weights.
    """

    name: str
    compute_s: tuple[float, ...]
    coding_s: tuple[float, ...] = ()
    memory_bytes: float = math.inf
    cache: Cache | None = None
    origin: Origin = Origin.MEASURED

    def __post_init__(self) -> None:
        if any(later < earlier for earlier, later in zip(self.compute_s, self.compute_s[1:], strict=False)):
            raise ValueError(f"stage {self.name}: time falls along the model")


@dataclass(frozen=True, slots=True)
class Hop:
    """The way from one machine to a later one: `delay_s` for the first byte, then `bandwidth_bps`."""

    delay_s: float
    bandwidth_bps: float

    def __post_init__(self) -> None:
        if not (self.delay_s >= 0 and self.bandwidth_bps > 0):
            raise errors.SettingsError(f"a hop of {self.bandwidth_bps} bit/s and {self.delay_s} s carries nothing")

    def busy_s(self, wire_bytes: float) -> float:
        return wire_bytes * 8 / self.bandwidth_bps

    def latency_s(self, wire_bytes: float) -> float:
        return self.delay_s + self.busy_s(wire_bytes)


@dataclass(frozen=True, slots=True)
class Chain:
    """`places` are cuts, the input first and the output last. `wire_bytes[k]` cross at place k, all tensors of its
    boundary together; `parameter_bytes[k]` are the weights of everything before it. The input begins at stage 0.

    `hops[s, t]` is a direct way; without one, what goes from s to t passes through the machines between.
    """

    places: tuple[str, ...]
    wire_bytes: tuple[float, ...]
    parameter_bytes: tuple[float, ...]
    stages: tuple[Stage, ...]
    hops: Mapping[tuple[int, int], Hop] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.wire_bytes), len(self.parameter_bytes), *(len(stage.compute_s) for stage in self.stages)}
        if lengths != {len(self.places)}:
            raise ValueError(f"{len(self.places)} places, but columns of {sorted(lengths)}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise errors.SettingsError(f"stages {', '.join(names)}: each needs a name of its own")

    def ways(self, source: int, target: int) -> tuple[Hop, ...]:
        """The hops that a boundary takes from one stage to a later one."""
        if source == target:
            return ()
        direct = self.hops.get((source, target))
        return (direct,) if direct else tuple(self.hops[at, at + 1] for at in range(source, target))


@dataclass(frozen=True, slots=True)
class Piece:
    """A stage's share: the operators between two places. `compute_s` includes coding; `stream_s` is for weights that
    do not fit its cache. `hop_s` is how long its input took to come, `hop_busy_s` the busiest link on that way."""

    stage: int
    start: int
    stop: int
    compute_s: float
    stream_s: float
    hop_s: float
    hop_busy_s: float

    @property
    def stage_s(self) -> float:
        return self.compute_s + self.stream_s


@dataclass(frozen=True, slots=True)
class Partition:
    pieces: tuple[Piece, ...]

    @property
    def cuts(self) -> tuple[int, ...]:
        """The places between the pieces."""
        return tuple(piece.start for piece in self.pieces[1:])

    @property
    def latency_s(self) -> float:
        return math.fsum(piece.stage_s + piece.hop_s for piece in self.pieces)

    @property
    def slowest_s(self) -> float:
        """Seconds a frame when frames follow one another: the slowest machine's or link's."""
        return max(max(piece.stage_s, piece.hop_busy_s) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a partition must do besides being good. `uses_all` leaves no stage out; `pins` says by step (the operators
    between a place and the next) which stage has to run it.
    """

    uses_all: bool = False
    pins: Mapping[int, int] = field(default_factory=dict)


FREE = Terms()


def fastest(chain: Chain, *, count: int = 1, terms: Terms = FREE) -> list[Partition]:
    """The partitions of least latency, best first; none if no machine can hold its piece or the terms cannot be met."""
    return _Search(chain, count, terms, np.add).best()


def smoothest(chain: Chain, *, terms: Terms = FREE) -> Partition | None:
    """The partition whose slowest stage or link is fastest, and of those that tie the one of least latency."""
    found = _Search(chain, 1, terms, np.maximum).best()
    if not found:
        return None
    # Another order of adding up may differ in the last digits; a tie must not be lost to that.
    limit_s = found[0].slowest_s * (1 + 1e-9)
    tied = _Search(chain, 1, terms, np.add, limit_s=limit_s).best()
    return tied[0] if tied else found[0]


def whole(chain: Chain, stage: int) -> Partition | None:
    """Everything on one machine; None if it cannot hold it."""
    made = partition(chain, [(stage, 0, len(chain.places) - 1)])
    return made if _fits(chain, made) else None


def partition(chain: Chain, shares: Sequence[tuple[int, int, int]]) -> Partition:
    """The partition with these (stage, start, stop), costed; nothing is checked."""
    pieces, source = [], 0
    for stage, start, stop in shares:
        ways = chain.ways(source, stage)
        crossing = chain.wire_bytes[start]
        pieces.append(
            Piece(
                stage=stage,
                start=start,
                stop=stop,
                compute_s=compute_s(chain, stage, start, stop),
                stream_s=stream_s(chain, stage, start, stop),
                hop_s=math.fsum(hop.latency_s(crossing) for hop in ways),
                hop_busy_s=max((hop.busy_s(crossing) for hop in ways), default=0.0),
            )
        )
        source = stage
    return Partition(tuple(pieces))


def compute_s(chain: Chain, stage: int, start: int, stop: int) -> float:
    machine = chain.stages[stage]
    busy_s = machine.compute_s[stop] - machine.compute_s[start]
    if machine.coding_s:
        takes_in = start > 0 or stage > 0
        sends_on = stop < len(chain.places) - 1
        busy_s += takes_in * machine.coding_s[start] + sends_on * machine.coding_s[stop]
    return busy_s


def stream_s(chain: Chain, stage: int, start: int, stop: int) -> float:
    cache = chain.stages[stage].cache
    if cache is None:
        return 0.0
    weights = chain.parameter_bytes[stop] - chain.parameter_bytes[start]
    return max(0.0, weights - cache.bytes) / cache.stream_bytes_per_s


def _fits(chain: Chain, made: Partition) -> bool:
    return all(
        chain.parameter_bytes[piece.stop] - chain.parameter_bytes[piece.start] <= chain.stages[piece.stage].memory_bytes
        for piece in made.pieces
    )


class _Search:
    """`values[s]` (rank, place): the best `count` costs of everything before a place with stage s last."""

    def __init__(self, chain: Chain, count: int, terms: Terms, combine: np.ufunc, *, limit_s: float = math.inf) -> None:
        self._chain = chain
        self._count = count
        self._terms = terms
        self._combine = combine
        self._limit_s = limit_s
        self._last = len(chain.places) - 1
        self._values: list[Array] = []
        # For each stage, (rank, place) → the row it came from, and each row's (stage, rank, start); stage -1 begins.
        self._came: list[Array] = []
        self._rows: list[list[tuple[int, int, int]]] = []

    def best(self) -> list[Partition]:
        for stage in range(len(self._chain.stages)):
            self._extend_to(stage)
        ends = [
            (float(values[rank, self._last]), stage, rank)
            for stage, values in enumerate(self._values)
            if not self._terms.uses_all or stage == len(self._values) - 1
            for rank in range(len(values))
        ]
        found = sorted(end for end in ends if math.isfinite(end[0]))[: self._count]
        return [self._trace(stage, rank) for _, stage, rank in found]

    def _extend_to(self, stage: int) -> None:
        runs = self._runs(stage)
        blocks: list[Array] = []
        rows: list[tuple[int, int, int]] = []
        if stage == 0 or not self._terms.uses_all:
            arrival = self._arrival(0, stage)[:1]
            blocks.append(self._combine(arrival[:, None], runs[:1]))
            rows.append((-1, 0, 0))
        for source in range(stage - 1 if self._terms.uses_all else 0, stage):
            if source < 0:
                continue
            arrival = self._arrival(source, stage)
            for rank, values in enumerate(self._values[source]):
                blocks.append(self._combine(self._combine(values, arrival)[:, None], runs))
                rows += [(source, rank, start) for start in range(self._last + 1)]
        self._keep(np.vstack(blocks), rows)

    def _keep(self, stacked: Array, rows: list[tuple[int, int, int]]) -> None:
        kept = min(self._count, len(stacked))
        order = np.argmin(stacked, axis=0)[None] if kept == 1 else np.argsort(stacked, axis=0, kind="stable")[:kept]
        self._came.append(order)
        self._values.append(np.take_along_axis(stacked, order, axis=0))
        self._rows.append(rows)

    def _runs(self, stage: int) -> Array:
        """(start, stop) → seconds of the piece; infinite where it is empty, does not fit, or exceeds the limit."""
        chain, machine = self._chain, self._chain.stages[stage]
        done = np.array(machine.compute_s)
        weights = np.subtract.outer(chain.parameter_bytes, chain.parameter_bytes).T
        runs: Array = done[None, :] - done[:, None]
        if machine.coding_s:
            coding = np.array(machine.coding_s)
            takes_in, sends_on = coding.copy(), coding.copy()
            takes_in[0] *= stage > 0
            sends_on[-1] = 0.0
            runs = runs + takes_in[:, None] + sends_on[None, :]
        if machine.cache is not None:
            runs = runs + np.maximum(0.0, weights - machine.cache.bytes) / machine.cache.stream_bytes_per_s
        is_barred = ~np.triu(np.ones(runs.shape, bool), 1)
        for step, pinned in self._terms.pins.items():
            if pinned != stage:
                is_barred[: step + 1, step + 1 :] = True
        return np.where(is_barred | (weights > machine.memory_bytes) | (runs > self._limit_s), np.inf, runs)

    def _arrival(self, source: int, stage: int) -> Array:
        """Seconds that each place's boundary takes from one stage to the other; for maxima, of the busiest link."""
        ways, crossing = self._chain.ways(source, stage), np.array(self._chain.wire_bytes)
        busy = np.array([crossing * 8 / hop.bandwidth_bps for hop in ways] or [np.zeros_like(crossing)])
        busiest: Array = busy.max(axis=0)
        if self._combine is np.maximum:
            return busiest
        delay_s = math.fsum(hop.delay_s for hop in ways)
        arrival: Array = np.where(busiest > self._limit_s, np.inf, busy.sum(axis=0) + delay_s)
        return arrival

    def _trace(self, stage: int, rank: int) -> Partition:
        shares: list[tuple[int, int, int]] = []
        stop = self._last
        while stage >= 0:
            before, before_rank, start = self._rows[stage][int(self._came[stage][rank, stop])]
            shares.append((stage, start, stop))
            stage, rank, stop = before, before_rank, start
        return partition(self._chain, shares[::-1])
