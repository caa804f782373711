"""The pieces of one machine, open as long as they are needed: once for all frames, not once for each."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from tflsplit import errors
from tflsplit.graph.interpreter import Interpreter
from tflsplit.kernels import requantisation
from tflsplit.placement import cost
from tflsplit.placement.folder import Shared
from tflsplit.placement.machines import Machine
from tflsplit.placement.rewriting import pieces
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Piece, Role
from tflsplit.placement.running import Share

_Key: TypeAlias = tuple[object, ...]


class OpenPieces:
    """For the thread that computes. No piece is quicker than the machine `pace` would be with it."""

    def __init__(self, shared: Shared, network: Network, *, threads: int, pace: Machine | None) -> None:
        self._shared = shared
        self._network = network
        self._threads = threads
        self._pace = pace
        self._opened: dict[_Key, Interpreter] = {}
        self._in_use: dict[tuple[int, Role], Interpreter] = {}

    def __len__(self) -> int:
        return len(self._opened)

    def load(self, share: Share, *, is_planned: bool) -> int:
        """Opens all that the share runs, out of the folder where it `is_planned` there, and closes what it does not.
        How many were opened."""
        wanted = {_key(piece): (step, piece) for step, piece in share.pieces}
        needed = {piece.parts[0].operator.name for _, piece in share.pieces if piece.role is Role.FINISHES}
        if needed & set(requantisation.KINDS) and (odd := requantisation.differing()):
            raise errors.DeviceError(
                f"this machine's kernels round sums of {', '.join(odd)} otherwise than the whole model does elsewhere; "
                "install the runtime that the other machines have, or distribute without this one"
            )
        for key in [key for key in self._opened if key not in wanted]:
            self._opened.pop(key).close()
        opened = 0
        for key, (step, piece) in wanted.items():
            if key not in self._opened:
                self._opened[key] = self._open(share.program.machine, step, piece, from_file=is_planned)
                opened += 1
        # What tells equal pieces apart is too long to work out for each frame.
        self._in_use = {(step, piece.role): self._opened[_key(piece)] for step, piece in share.pieces}
        return opened

    @contextmanager
    def use(self, step: int, piece: Piece) -> Iterator[Interpreter]:
        """As `running.OpenPiece`."""
        began_s = time.monotonic()
        yield self._in_use[step, piece.role]
        if self._pace is not None:
            time.sleep(max(0.0, began_s + cost.run_s(piece, self._pace) - time.monotonic()))

    def close(self) -> None:
        while self._opened:
            self._opened.popitem()[1].close()

    def _open(self, machine: int, step: int, piece: Piece, *, from_file: bool) -> Interpreter:
        if from_file:
            return Interpreter(self._shared.piece(machine, step, piece), threads=self._threads)
        name = f"stage {step} of {self._shared.plan.machines[machine]}"
        return Interpreter(pieces.model(self._network, piece), threads=self._threads, name=name)


def _key(piece: Piece) -> _Key:
    operators = tuple(part.operator.index for part in piece.parts)
    return piece.role, operators, tuple(piece.inputs.items()), tuple(piece.outputs.items())
