"""Which machine makes which part of which tensor, in what order, and what is sent to whom for that."""

from collections.abc import Iterable, Mapping

from tflsplit import errors
from tflsplit.placement.rewriting import boxes, partial_sums, pieces
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Piece
from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class Stage:
    """Operators `start:stop`, shared. `makes[m]` are the parts that machine m makes of the tensors which are needed
    later; none where it has nothing to do.

    A stage of one operator may share what is added up: `adds[m]` is then the part of its input whose sums machine m
    works out, and whoever makes a part of the result is sent the sums for it of all others that have some.
    """

    start: int
    stop: int
    makes: tuple[Mapping[int, Box], ...]
    adds: tuple[Box | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """`source` has the inputs, and `sink` is where the outputs are wanted; machines are counted from 0."""

    machines: int
    stages: tuple[Stage, ...]
    source: int = 0
    sink: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A part of a tensor that one machine sends to another one."""

    tensor: int
    box: Box
    source: int
    target: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Step:
    """A stage in full: what is moved before it, each machine's piece, and, where that makes sums, the sums that are
    moved then and the piece that makes a part of the result of their total, in which its own sums may be."""

    stage: Stage
    moves: tuple[Move, ...]
    pieces: tuple[Piece | None, ...]
    sums: tuple[Move, ...] = ()
    finishes: tuple[Piece | None, ...] = ()
    has_own: tuple[bool, ...] = ()

    def run_by(self, machine: int) -> tuple[Piece, ...]:
        """All pieces of a machine, in order."""
        both = (self.pieces[machine], self.finishes[machine] if self.finishes else None)
        return tuple(piece for piece in both if piece is not None)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a placement, and what is moved to the sink when they are done."""

    steps: tuple[Step, ...]
    last: tuple[Move, ...]

    @property
    def moves(self) -> tuple[Move, ...]:
        return (*(move for step in self.steps for move in (*step.moves, *step.sums)), *self.last)

    @property
    def bytes_exchanged(self) -> int:
        return sum(move.bytes for move in self.moves)


@dataclass
class Holdings:
    """Which parts each machine has. Of tensors from `outside` nobody knows yet who has them: what is needed of these is
    kept in `asked`, as (tensor, machine, part)."""

    network: Network
    machines: int
    outside: frozenset[int] = frozenset()
    parts: dict[int, list[list[Box]]] = field(default_factory=dict)
    asked: list[tuple[int, int, Box]] = field(default_factory=list)

    def add(self, tensor: int, machine: int, box: Box) -> None:
        self.parts.setdefault(tensor, [[] for _ in range(self.machines)])[machine].append(box)

    def fetch(self, tensor: int, machine: int, box: Box) -> list[Move]:
        """What a machine has to be sent so that it has the part. SettingsError where nobody has it."""
        if tensor in self.outside:
            self.asked.append((tensor, machine, box))
            return []
        held = self.parts.setdefault(tensor, [[] for _ in range(self.machines)])
        missing, moves = boxes.minus(box, held[machine]), []
        for other in (*range(machine + 1, self.machines), *range(machine)):  # the next one first: loads are spread
            if not missing:
                break
            for part in held[other]:
                found = [each for piece in missing if not boxes.is_empty(each := boxes.common(piece, part))]
                if found:
                    moves += [self._move(tensor, each, other, machine) for each in found]
                    missing = [left for piece in missing for left in boxes.minus(piece, [part])]
        if missing:
            part = f"{missing[0]} of tensor {self.network.graph.tensors[tensor].name!r}"
            raise errors.SettingsError(f"machine {machine} needs {part}, which no machine makes")
        return moves

    def receive(self, moves: Iterable[Move]) -> None:
        """They have arrived. What is on its way cannot be sent on, so all moves of a step are worked out before."""
        for move in moves:
            self.add(move.tensor, move.target, move.box)

    def forget(self, kept: frozenset[int]) -> None:
        self.parts = {tensor: held for tensor, held in self.parts.items() if tensor in kept}

    def _move(self, tensor: int, box: Box, source: int, target: int) -> Move:
        return Move(tensor, box, source, target, boxes.volume(box) * self.network.item_bytes[tensor])


def schedule(network: Network, placement: Placement) -> Schedule:
    """Everything that follows from a placement. SettingsError where a part is needed that no machine makes."""
    held = Holdings(network, placement.machines)
    for tensor in network.graph.inputs:
        held.add(tensor, placement.source, network.wholes[tensor])
    steps = [step(network, stage, held) for stage in placement.stages]
    last = [
        move for tensor in network.graph.outputs for move in held.fetch(tensor, placement.sink, network.wholes[tensor])
    ]
    return Schedule(tuple(steps), tuple(last))


def step(network: Network, stage: Stage, held: Holdings) -> Step:
    """A stage in full, from what is held before it; what it makes is held afterwards."""
    made = _adding(network, stage, held) if stage.adds else _sharing(network, stage, held)
    for machine, parts in enumerate(stage.makes):
        for tensor, box in parts.items():
            held.add(tensor, machine, box)
    held.forget(network.needed_from[stage.stop])
    return made


def _sharing(network: Network, stage: Stage, held: Holdings) -> Step:
    made = tuple(pieces.piece(network, stage.start, stage.stop, each) if each else None for each in stage.makes)
    moves = [
        move
        for machine, piece in enumerate(made)
        if piece is not None
        for tensor, box in piece.inputs.items()
        for move in held.fetch(tensor, machine, box)
    ]
    held.receive(moves)
    return Step(stage, tuple(moves), made)


def _adding(network: Network, stage: Stage, held: Holdings) -> Step:
    operator = network.graph.operators[stage.start]
    if stage.stop != stage.start + 1 or not partial_sums.can_add(network, operator):
        raise errors.SettingsError(f"stage {stage.start}:{stage.stop} adds up what cannot be: {operator.name}")
    (target,) = operator.outputs
    results = [made.get(target) for made in stage.makes]
    given = partial_sums.contributions(network, operator, stage.adds, results)
    adders = tuple(partial_sums.adding(network, operator, each) for each in given)
    moves = [
        move
        for machine, piece in enumerate(adders)
        if piece is not None
        for tensor, box in piece.inputs.items()
        for move in held.fetch(tensor, machine, box)
    ]
    held.receive(moves)
    sums: list[Move] = []
    has_own = []
    for other, box in enumerate(results):
        if box is None:
            has_own.append(False)
            continue
        found = [machine for machine, parts in enumerate(given) if box in parts]
        has_own.append(other in found)
        taken = boxes.volume(box) * partial_sums.SUM_BYTES
        sums += [Move(target, box, machine, other, taken) for machine in found if machine != other]
    finishes = tuple(None if box is None else partial_sums.finishing(network, operator, box) for box in results)
    return Step(stage, tuple(moves), adders, tuple(sums), finishes, tuple(has_own))


def check(network: Network, placement: Placement) -> None:
    """SettingsError for stages that are not the whole graph in order."""
    position = 0
    for stage in placement.stages:
        if stage.start != position or stage.stop <= stage.start or len(stage.makes) != placement.machines:
            raise errors.SettingsError(f"stage {stage.start}:{stage.stop} does not go on at operator {position}")
        position = stage.stop
    if position != network.count:
        raise errors.SettingsError(f"operators from {position} on are in no stage")


def whole_stage(network: Network, start: int, stop: int, machine: int, machines: int) -> Stage:
    """Operators on one machine."""
    made = network.made_within(start, stop)
    whole = {tensor: network.wholes[tensor] for tensor in made}
    return Stage(start, stop, tuple(whole if each == machine else {} for each in range(machines)))
