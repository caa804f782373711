"""Several machines in a row, each running the next piece of the model, and what a partition over them costs. Pure.

The input starts at the first machine, which sends it on where it runs nothing of the model itself. `partitioner` finds
the best partition.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tflsplit import errors
from tflsplit.timings.profiles import Origin


@dataclass(frozen=True, slots=True)
class Cache:
    """An accelerator's memory for weights. Weights of a piece beyond `bytes` are streamed in at each inference."""

    bytes: float
    stream_bytes_per_s: float


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

    def busy_s(self, place: int, wire_bytes: float) -> float:
        return self.occupied_s[place] if self.occupied_s else wire_bytes * 8 / self.bandwidth_bps

    def latency_s(self, place: int, wire_bytes: float) -> float:
        return self.delay_s + (self.sending_s[place] if self.sending_s else wire_bytes * 8 / self.bandwidth_bps)


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


@dataclass(frozen=True, slots=True)
class Piece:
    """A stage's share: the operators between two places, or none where it only sends or receives. `stream_s` is the
    time for weights that do not fit its cache, `hop_s` that of its input on the links, `hop_busy_s` how long it keeps
    the busiest of these busy."""

    stage: int
    start: int
    stop: int
    preprocess_s: float
    run_s: float
    coding_s: float
    stream_s: float
    hop_s: float
    hop_busy_s: float

    @property
    def compute_s(self) -> float:
        return self.preprocess_s + self.run_s + self.coding_s

    @property
    def stage_s(self) -> float:
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
    def latency_s(self) -> float:
        return math.fsum([*(piece.stage_s + piece.hop_s for piece in self.pieces), self.back_s])

    @property
    def slowest_s(self) -> float:
        """Seconds a frame when frames follow one another: the slowest machine's or link's."""
        return max(max(piece.stage_s, piece.hop_busy_s) for piece in self.pieces)


def whole(chain: Chain, stage: int) -> Partition | None:
    """Everything on one machine; None if it cannot hold it."""
    last = len(chain.places) - 1
    receivers = range(1, len(chain.stages)) if stage == 0 and chain.delivered else ()
    choices = [[(stage, 0, last), (end, last, last)] for end in receivers] or [[(stage, 0, last)]]
    made = min((partition(chain, shares) for shares in choices), key=lambda found: found.latency_s)
    return made if fits(chain, made) else None


def partition(chain: Chain, shares: Sequence[tuple[int, int, int]]) -> Partition:
    """The partition with these (stage, start, stop), costed and not checked. The first machine is always part of it."""
    begin = [] if shares[0][0] == 0 else [(0, 0, 0)]
    pieces, source = [], 0
    for stage, start, stop in (*begin, *shares):
        route = chain.route(source, stage)
        crossing = chain.wire_bytes[start]
        pieces.append(
            Piece(
                stage=stage,
                start=start,
                stop=stop,
                preprocess_s=0.0 if stage else chain.preprocess_s,
                run_s=_run_s(chain.stages[stage], start, stop),
                coding_s=_coding_s(chain, stage, start, stop),
                stream_s=stream_s(chain, stage, start, stop),
                hop_s=math.fsum(hop.latency_s(start, crossing) for hop in route),
                hop_busy_s=max((hop.busy_s(start, crossing) for hop in route), default=0.0),
            )
        )
        source = stage
    return Partition(tuple(pieces), math.fsum(hop.back_s for hop in chain.route(0, source)))


def compute_s(chain: Chain, stage: int, start: int, stop: int) -> float:
    """The time of a piece on its machine without streaming of weights."""
    preprocess_s = 0.0 if stage else chain.preprocess_s
    return preprocess_s + _run_s(chain.stages[stage], start, stop) + _coding_s(chain, stage, start, stop)


def _run_s(machine: Stage, start: int, stop: int) -> float:
    return max(0.0, machine.compute_s[stop] - machine.compute_s[start])


def _coding_s(chain: Chain, stage: int, start: int, stop: int) -> float:
    coding_s = chain.stages[stage].coding_s
    if not coding_s:
        return 0.0
    takes_in = stage > 0
    sends_on = stop < len(chain.places) - 1 or (stage == 0 and chain.delivered)
    return takes_in * coding_s[start] + sends_on * coding_s[stop]


def stream_s(chain: Chain, stage: int, start: int, stop: int) -> float:
    cache = chain.stages[stage].cache
    if cache is None:
        return 0.0
    weights = chain.parameter_bytes[stop] - chain.parameter_bytes[start]
    return max(0.0, weights - cache.bytes) / cache.stream_bytes_per_s


def fits(chain: Chain, made: Partition) -> bool:
    """Whether every machine can hold its piece's weights."""
    return all(
        chain.parameter_bytes[piece.stop] - chain.parameter_bytes[piece.start] <= chain.stages[piece.stage].memory_bytes
        for piece in made.pieces
    )
