"""What each machine does for a frame, in order: its tasks, the letters that it waits for, and those that it sends.

A letter holds all that one machine sends to another one for a step, and goes out as soon as its sender has it. So it is
known by step, phase and sender, and its contents need no description.
"""

import enum
from collections.abc import Iterable, Mapping, Sequence

from tflsplit.placement.placement import Move, Placement, Schedule, Step
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.values.classes import dataclass

AT_START = -1  # before all steps: the inputs are there


class Phase(enum.IntEnum):
    """Of a step: `ADD` works out sums that are sent on, `FINISH` makes a result of these, `MAKE` is all in one, and
    `DELIVER` the end, where the sink has the outputs."""

    MAKE = 0
    ADD = 1
    FINISH = 2
    DELIVER = 3


@dataclass(frozen=True, slots=True)
class Letter:
    """The parts (or sums) that `source` sends for that phase of a step; `layout` is dtype and shape of each."""

    step: int
    phase: Phase
    source: int
    target: int
    moves: tuple[Move, ...]
    layout: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def key(self) -> tuple[int, int, int]:
        """By which its receiver knows it."""
        return self.step, self.phase, self.source

    @property
    def bytes(self) -> int:
        return sum(move.bytes for move in self.moves)


@dataclass(frozen=True, slots=True)
class Task:
    """`waits` for these letters, then `sends` those. Afterwards the parts of the tensors in `kept` are still needed."""

    step: int
    phase: Phase
    waits: tuple[Letter, ...]
    sends: tuple[Letter, ...]
    kept: frozenset[int]


@dataclass(frozen=True, slots=True)
class Program:
    """Of one machine. `first` are the letters with the inputs, which only the source has."""

    machine: int
    first: tuple[Letter, ...]
    tasks: tuple[Task, ...]

    @property
    def expected(self) -> Mapping[tuple[int, int, int], Letter]:
        return {letter.key: letter for task in self.tasks for letter in task.waits}


def programs(network: Network, placed: Placement, schedule: Schedule) -> tuple[Program, ...]:
    """Of each machine, none of which has to know the others' beyond its own letters."""
    sent: dict[tuple[int, int, Phase], list[Letter]] = {}
    awaited: dict[tuple[int, int, Phase], list[Letter]] = {}
    for ready, letter in _letters(network, placed, schedule):
        sent.setdefault((letter.source, *ready), []).append(letter)
        awaited.setdefault((letter.target, letter.step, letter.phase), []).append(letter)
    made = []
    for machine in range(placed.machines):
        tasks = tuple(
            Task(
                step,
                phase,
                tuple(awaited.get((machine, step, phase), ())),
                tuple(sent.get((machine, step, phase), ())),
                network.needed_from[schedule.steps[step].stage.stop] if step < len(schedule.steps) else frozenset(),
            )
            for step, phase in _tasks(placed, schedule, machine)
        )
        made.append(Program(machine, tuple(sent.get((machine, AT_START, Phase.MAKE), ())), tasks))
    return tuple(made)


def _tasks(placed: Placement, schedule: Schedule, machine: int) -> Iterable[tuple[int, Phase]]:
    for number, step in enumerate(schedule.steps):
        if not step.stage.adds:
            if step.pieces[machine] is not None:
                yield number, Phase.MAKE
            continue
        if step.pieces[machine] is not None:
            yield number, Phase.ADD
        if step.stage.makes[machine]:
            yield number, Phase.FINISH
    if machine == placed.sink:
        yield len(schedule.steps), Phase.DELIVER


def _letters(network: Network, placed: Placement, schedule: Schedule) -> Iterable[tuple[tuple[int, Phase], Letter]]:
    """Each with the step and phase after which its sender has all of it."""
    held: dict[tuple[int, int], list[tuple[tuple[int, Phase], Box]]] = {}
    for tensor in network.graph.inputs:
        held[placed.source, tensor] = [((AT_START, Phase.MAKE), network.wholes[tensor])]
    for number, step in enumerate((*schedule.steps, None)):
        moves = schedule.last if step is None else step.moves
        phase = Phase.DELIVER if step is None else Phase.ADD if step.stage.adds else Phase.MAKE
        for together in _by_pair(moves):
            ready = max(_ready(held[move.source, move.tensor], move.box) for move in together)
            yield ready, _letter(network, number, phase, together)
        for move in moves:
            held.setdefault((move.target, move.tensor), []).append(((number, phase), move.box))
        if step is not None:
            for together in _by_pair(step.sums):
                yield (number, Phase.ADD), _letter(network, number, Phase.FINISH, together)
            _hold(held, number, step)


def _hold(held: dict[tuple[int, int], list[tuple[tuple[int, Phase], Box]]], number: int, step: Step) -> None:
    phase = Phase.FINISH if step.stage.adds else Phase.MAKE
    for machine, made in enumerate(step.stage.makes):
        for tensor, box in made.items():
            held.setdefault((machine, tensor), []).append(((number, phase), box))


def _ready(parts: Sequence[tuple[tuple[int, Phase], Box]], box: Box) -> tuple[int, Phase]:
    """When the last part of the box is there; parts are in the order of time."""
    missing = [box]
    for since, part in parts:
        missing = [left for piece in missing for left in boxes.minus(piece, [part])]
        if not missing:
            return since
    raise AssertionError("a schedule moves what nobody has")


def _by_pair(moves: Sequence[Move]) -> Iterable[tuple[Move, ...]]:
    """Those from one machine to another one together; the order within is that of the schedule."""
    found: dict[tuple[int, int], list[Move]] = {}
    for move in moves:
        found.setdefault((move.source, move.target), []).append(move)
    return map(tuple, found.values())


def _letter(network: Network, step: int, phase: Phase, moves: tuple[Move, ...]) -> Letter:
    layout = tuple(
        ("int32" if phase is Phase.FINISH else network.graph.tensors[move.tensor].type_name, boxes.shape(move.box))
        for move in moves
    )
    return Letter(step, phase, moves[0].source, moves[0].target, moves, layout)
