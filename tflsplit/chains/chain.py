"""Several machines in a row, each running the next piece of the model, and what a partition over them costs. Pure.

The input starts at the first machine, which sends it on where it runs nothing of the model itself. `partitioner` finds
the best partition.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from tflsplit import errors
from tflsplit.timings.profiles import Origin
from tflsplit.values.classes import dataclass, field

# A piece is one, or many at once: then the numbers of its places are arrays, and so is all that it costs.
Places: TypeAlias = Any
Seconds: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Cache:
    """An accelerator's memory for weights. Weights of a piece beyond `bytes` are streamed in at each inference."""

    bytes: float
    stream_bytes_per_s: float

    def stream_s(self, parameter_bytes: Any) -> Seconds:
        """The time of a piece with so many bytes of weights."""
        return np.maximum(0.0, parameter_bytes - self.bytes) / self.stream_bytes_per_s


# 8 MB less what the executable takes; streaming as public timings over USB 3 suggest (Coral's benchmark page: VGG16,
# VGG19, ResNet-50 and -152 and Inception v4 lie within 350 and 440 MB/s).
EDGE_TPU = Cache(8e6, 400e6)


@dataclass(frozen=True, slots=True)
class Stage:
    """One machine. `compute_s[k]` is the time for everything before place k, without streaming of weights, up to a
    constant: only differences count, and one that noise makes negative counts as 0.

    `coding_s[k]` is the time for sending or receiving the boundary at place k. `memory_bytes` bounds a piece's weights.
    """

    name: str
    compute_s: tuple[float, ...]
    coding_s: tuple[float, ...] = ()
    memory_bytes: float = math.inf
    cache: Cache | None = None
    origin: Origin = Origin.MEASURED


@dataclass(frozen=True, slots=True)
class Hop:
    """The link from one machine to a later one: `delay_s` for the first byte, then `bandwidth_bps`; `back_s` is the
    time of a result in the other direction.

    A link that was measured has times by place besides: `sending_s` is what a boundary takes beyond the delay, and
    `occupied_s` how long it keeps the link busy when frames follow one another.
    """

    delay_s: float
    bandwidth_bps: float
    back_s: float = 0.0
    sending_s: tuple[float, ...] = ()
    occupied_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (self.delay_s >= 0 and self.bandwidth_bps > 0):
            raise errors.SettingsError(f"a hop of {self.bandwidth_bps} bit/s and {self.delay_s} s carries nothing")

    def busy_s(self, place: Places, wire_bytes: Seconds) -> Seconds:
        return np.array(self.occupied_s)[place] if self.occupied_s else wire_bytes * 8 / self.bandwidth_bps

    def latency_s(self, place: Places, wire_bytes: Seconds) -> Seconds:
        sending_s = np.array(self.sending_s)[place] if self.sending_s else wire_bytes * 8 / self.bandwidth_bps
        return self.delay_s + sending_s


@dataclass(frozen=True, slots=True)
class Chain:
    """`places` are cuts, the input first and the output last. `wire_bytes[k]` cross at place k, all tensors of its
    boundary together; `parameter_bytes[k]` are the weights of everything before it. `preprocess_s` is what the first
    machine does to each input before anything else.

    `hops[s, t]` is a direct link; without one, what goes from s to t passes through the machines between. `delivered`
    says that a result which the first machine makes counts only once another has it, as in service.
    """

    places: tuple[str, ...]
    wire_bytes: tuple[float, ...]
    parameter_bytes: tuple[float, ...]
    stages: tuple[Stage, ...]
    hops: Mapping[tuple[int, int], Hop] = field(default_factory=dict)
    preprocess_s: float = 0.0
    delivered: bool = False

    def __post_init__(self) -> None:
        lengths = {len(self.wire_bytes), len(self.parameter_bytes), *(len(stage.compute_s) for stage in self.stages)}
        if lengths != {len(self.places)}:
            raise ValueError(f"{len(self.places)} places, but columns of {sorted(lengths)}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise errors.SettingsError(f"stages {', '.join(names)}: each needs a name of its own")

    def route(self, source: int, target: int) -> tuple[Hop, ...]:
        """The hops that a boundary takes from one stage to a later one."""
        if source == target:
            return ()
        direct = self.hops.get((source, target))
        return (direct,) if direct else tuple(self.hops[at, at + 1] for at in range(source, target))

    def back_s(self, stage: int) -> float:
        """The time of a result from a stage to the first machine."""
        return math.fsum(hop.back_s for hop in self.route(0, stage))


@dataclass(frozen=True, slots=True)
class Piece:
    """A stage's share: the operators between two places, or none where it only sends or receives. `stream_s` is the
    time for weights that do not fit its cache, `hop_s` that of its input on the links, `hop_busy_s` how long it keeps
    the busiest of these busy."""

    stage: int
    start: Places
    stop: Places
    parameter_bytes: Any
    preprocess_s: float
    run_s: Seconds
    coding_s: Seconds
    stream_s: Seconds
    hop_s: Seconds
    hop_busy_s: Seconds

    @property
    def compute_s(self) -> Seconds:
        return self.preprocess_s + self.run_s + self.coding_s

    @property
    def stage_s(self) -> Seconds:
        return self.compute_s + self.stream_s


@dataclass(frozen=True, slots=True)
class Partition:
    """`pieces` begin at the first machine. `back_s` is the time that the result takes back to it."""

    pieces: tuple[Piece, ...]
    back_s: float

    @property
    def shares(self) -> tuple[Piece, ...]:
        """The pieces that run something of the model."""
        return tuple(piece for piece in self.pieces if piece.start < piece.stop)

    @property
    def cuts(self) -> tuple[int, ...]:
        """The places between the shares."""
        return tuple(piece.start for piece in self.shares[1:])

    @property
    def is_split(self) -> bool:
        return len(self.shares) > 1

    @property
    def latency_s(self) -> Seconds:
        return sum((piece.stage_s + piece.hop_s for piece in self.pieces), self.back_s)

    @property
    def slowest_s(self) -> Seconds:
        """Seconds a frame when frames follow one another: the slowest machine's or link's."""
        return functools.reduce(np.maximum, (each for one in self.pieces for each in (one.stage_s, one.hop_busy_s)))


def whole(chain: Chain, stage: int) -> Partition | None:
    """Everything on one machine; None if it cannot hold it."""
    last = len(chain.places) - 1
    receivers = range(1, len(chain.stages)) if stage == 0 and chain.delivered else ()
    choices = [[(stage, 0, last), (end, last, last)] for end in receivers] or [[(stage, 0, last)]]
    made = min((partition(chain, shares) for shares in choices), key=lambda found: found.latency_s)
    return made if fits(chain, made) else None


def partition(chain: Chain, shares: Sequence[tuple[int, Places, Places]]) -> Partition:
    """The partition with these (stage, start, stop), costed and not checked. The first machine is always part of it."""
    begin = [] if shares[0][0] == 0 else [(0, 0, 0)]
    pieces, source = [], 0
    for stage, start, stop in (*begin, *shares):
        pieces.append(piece(chain, source, stage, start, stop))
        source = stage
    return Partition(tuple(pieces), chain.back_s(source))


def piece(chain: Chain, source: int, stage: int, start: Places, stop: Places) -> Piece:
    """The piece between two places on one stage, where its input comes from another, costed and not checked."""
    machine, route, crossing = chain.stages[stage], chain.route(source, stage), np.array(chain.wire_bytes)[start]
    before_s, coding_s, weights = map(np.array, (machine.compute_s, machine.coding_s, chain.parameter_bytes))
    held = weights[stop] - weights[start]
    sends_on = (stop < len(chain.places) - 1) | (stage == 0 and chain.delivered)
    return Piece(
        stage=stage,
        start=start,
        stop=stop,
        parameter_bytes=held,
        preprocess_s=0.0 if stage else chain.preprocess_s,
        run_s=np.maximum(0.0, before_s[stop] - before_s[start]),
        coding_s=(stage > 0) * coding_s[start] + sends_on * coding_s[stop] if machine.coding_s else 0.0,
        stream_s=machine.cache.stream_s(held) if machine.cache else 0.0,
        hop_s=sum(hop.latency_s(start, crossing) for hop in route),
        hop_busy_s=functools.reduce(np.maximum, (hop.busy_s(start, crossing) for hop in route), 0.0),
    )


def fits(chain: Chain, made: Partition) -> Any:
    """Whether every machine can hold its piece's weights."""
    held = (each.parameter_bytes <= chain.stages[each.stage].memory_bytes for each in made.pieces)
    return functools.reduce(np.logical_and, held)
