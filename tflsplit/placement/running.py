"""One machine's share of a placement, run task by task; and all machines in one process, for proofs.

Letters come in and go out as arrays. How they travel is for whoever runs the share.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np

from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array
from tflsplit.placement import letters
from tflsplit.placement.letters import Letter, Phase, Program, Task
from tflsplit.placement.placement import Move, Placement, Schedule
from tflsplit.placement.rewriting import boxes, pieces
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Piece

# The interpreter of that piece of a step, open as long as the block lasts.
OpenPiece = Callable[[int, Piece], AbstractContextManager[Interpreter]]
Sent = list[tuple[Letter, tuple[Array, ...]]]


class Parts:
    """The parts of tensors that one machine has."""

    def __init__(self) -> None:
        self._held: dict[int, list[tuple[Box, Array]]] = {}

    def add(self, tensor: int, box: Box, array: Array) -> None:
        self._held.setdefault(tensor, []).append((box, array))

    def get(self, tensor: int, box: Box) -> Array:
        """The part, as interpreters take it: in C order."""
        return np.ascontiguousarray(self.view(tensor, box))

    def view(self, tensor: int, box: Box) -> Array:
        """The part, in what is held if one array has all of it, else put together."""
        held = self._held[tensor]
        for outer, array in held:
            if boxes.holds(outer, box):
                part: Array = array[boxes.slices(boxes.within(box, outer))]
                return part
        made: Array = np.empty(boxes.shape(box), held[0][1].dtype)
        for outer, array in held:
            shared = boxes.common(outer, box)
            if not boxes.is_empty(shared):
                made[boxes.slices(boxes.within(shared, box))] = array[boxes.slices(boxes.within(shared, outer))]
        return made

    def forget(self, kept: frozenset[int]) -> None:
        self._held = {tensor: parts for tensor, parts in self._held.items() if tensor in kept}


class Share:
    """What one machine does of a placement; `open_piece` says how its pieces are opened, and for how long."""

    def __init__(
        self, network: Network, placed: Placement, schedule: Schedule, program: Program, open_piece: OpenPiece
    ) -> None:
        self.program = program
        self.expected: Mapping[tuple[int, int, int], Letter] = program.expected
        self._network = network
        self._schedule = schedule
        self._open_piece = open_piece

    @property
    def pieces(self) -> tuple[tuple[int, Piece], ...]:
        """All that it runs, each with its step."""
        return tuple((task.step, piece) for task in self.program.tasks if (piece := self.piece(task)) is not None)

    def operators(self, task: Task) -> tuple[int, int] | None:
        """The first, and the one after the last, of the step; None for the end."""
        if task.phase is Phase.DELIVER:
            return None
        stage = self._schedule.steps[task.step].stage
        return stage.start, stage.stop

    def piece(self, task: Task) -> Piece | None:
        """What a task runs; None where it runs none."""
        if task.phase is Phase.DELIVER:
            return None
        step = self._schedule.steps[task.step]
        return (step.finishes if task.phase is Phase.FINISH else step.pieces)[self.program.machine]

    def begin(self, inputs: Sequence[Array] | None = None) -> "Frame":
        """A frame of which nothing is here yet, but for the inputs at the source."""
        frame = Frame(self)
        for tensor, array in zip(self._network.graph.inputs, inputs or (), strict=inputs is not None):
            frame.parts.add(tensor, self._network.wholes[tensor], array)
        return frame

    def outputs(self, parts: Parts) -> tuple[Array, ...]:
        """Of the whole model; at the sink, once all is there."""
        return tuple(parts.get(tensor, self._network.wholes[tensor]) for tensor in self._network.graph.outputs)

    def made(self, task: Task, frame: "Frame") -> None:
        """Does what the task is, with what the frame has."""
        piece = self.piece(task)
        if piece is None:
            return
        held = self._total(task.step, piece, frame) if task.phase is Phase.FINISH else frame.parts
        arrays = [held.get(tensor, box) for tensor, box in piece.inputs.items()]
        with self._open_piece(task.step, piece) as opened:
            made = opened.run(*arrays)
        target = frame.sums.setdefault(task.step, Parts()) if task.phase is Phase.ADD else frame.parts
        for (tensor, box), array in zip(piece.outputs.items(), made, strict=True):
            target.add(tensor, box, array)

    def _total(self, number: int, piece: Piece, frame: "Frame") -> Parts:
        """Of all sums, its own and the others'."""
        ((tensor, box),) = piece.inputs.items()
        found, own = frame.received.pop(number, []), frame.sums.pop(number, None)
        if own is not None and self._schedule.steps[number].has_own[self.program.machine]:
            found.append(own.get(tensor, box))
        held = Parts()
        held.add(tensor, box, np.stack(found).sum(axis=0, dtype=np.int32))
        return held


class Frame:
    """One frame at one machine: what it has, and which task is next. `received` are the others' sums, by step."""

    def __init__(self, share: Share) -> None:
        self.parts = Parts()
        self.sums: dict[int, Parts] = {}
        self.received: dict[int, list[Array]] = {}
        self._share = share
        self._tasks = deque(share.program.tasks)
        self._letters: dict[tuple[int, int, int], tuple[Array, ...]] = {}

    @property
    def task(self) -> Task | None:
        """The next one; None where all is done."""
        return self._tasks[0] if self._tasks else None

    @property
    def is_ready(self) -> bool:
        """Whether the next task has all that it waits for."""
        return self.task is not None and all(letter.key in self._letters for letter in self.task.waits)

    def first(self) -> Sent:
        """What goes out at once; for the source, and to be called once."""
        return self._read(self._share.program.first)

    def take(self, letter: Letter, arrays: tuple[Array, ...]) -> None:
        self._letters[letter.key] = arrays

    def has(self, letter: Letter) -> bool:
        """Whether it has come and was not read yet."""
        return letter.key in self._letters

    def step(self) -> Sent:
        """Does the next task, which is ready, and gives what goes out then."""
        task = self._tasks.popleft()
        for letter in task.waits:
            arrays = self._letters.pop(letter.key)
            if letter.phase is Phase.FINISH:
                self.received.setdefault(task.step, []).extend(arrays)
                continue
            for move, array in zip(letter.moves, arrays, strict=True):
                self.parts.add(move.tensor, move.box, array)
        self._share.made(task, self)
        sent = self._read(task.sends)
        if self._tasks:
            self.parts.forget(task.kept)
        return sent

    def _read(self, sent: Sequence[Letter]) -> Sent:
        return [(letter, tuple(self._part(letter, move) for move in letter.moves)) for letter in sent]

    def _part(self, letter: Letter, move: Move) -> Array:
        if letter.phase is Phase.FINISH:
            return self.sums[letter.step].view(move.tensor, move.box)
        return self.parts.view(move.tensor, move.box)


def run(
    network: Network,
    placed: Placement,
    schedule: Schedule,
    inputs: Sequence[Array],
    *,
    threads: int = 1,
    kernels: Sequence[Kernels] = (),
) -> tuple[Array, ...]:
    """The outputs of the model, whose input arrays are in the order of the graph's inputs. `kernels` are those of each
    machine, by default what serves."""

    def opener(machine: int) -> OpenPiece:
        chosen = kernels[machine] if kernels else Kernels.SERVING
        return lambda _, piece: Interpreter(pieces.model(network, piece), threads=threads, kernels=chosen)

    programs = letters.programs(network, placed, schedule)
    shares = [Share(network, placed, schedule, program, opener(program.machine)) for program in programs]
    frames = [share.begin(inputs if share.program.machine == placed.source else None) for share in shares]
    sent = deque(frames[placed.source].first())
    while sent or any(frame.is_ready for frame in frames):
        while sent:
            letter, arrays = sent.popleft()
            frames[letter.target].take(letter, arrays)
        for frame in frames:
            if frame.is_ready:
                sent += frame.step()
    return shares[placed.sink].outputs(frames[placed.sink].parts)
