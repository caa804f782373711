"""The candidates of a package as one thing that opens, serves and closes: an update puts those of a new package in
place of the old one's, which stay open until it is sure that there is no way back.
"""

import contextlib
from collections.abc import Callable

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.protocol import Accelerator
from edge_runtime.adapting.candidates import Candidate
from edge_runtime.answering.on_device import OnDevice
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.graph import tensors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Lineup:
    """`on_device` goes on behind these heads, None where nobody asks for it."""

    package: Package
    candidates: tuple[Candidate, ...]
    on_device: OnDevice | None = None

    def head(self, cut: Cut) -> Head | None:
        return next((each.head for each in self.candidates if each.choice.cut == cut.id), None)

    @property
    def payloads(self) -> dict[str, int]:
        """The bytes of each candidate's boundary."""
        return {each.choice.id: tensors.payload_bytes(each.sending.boundary) for each in self.candidates}


class Lineups:
    """An `edge_runtime.updates.swap.Opener`: a head that it opens stands for all candidates of its package. `opens`
    opens these on the CPU, until its block ends. What the first package's boundaries take, the plan goes by."""

    moves = True

    def __init__(self, opens: Callable[[Package], contextlib.AbstractContextManager[Lineup]]) -> None:
        self._opens = opens
        self._open: dict[Head, tuple[Lineup, contextlib.ExitStack]] = {}
        self._planned: dict[str, int] | None = None

    def resolve(self, package: Package, cut: Cut) -> Accelerator:
        return Cpu()

    def open(self, package: Package, cut: Cut) -> Head:
        """Raises what `candidates.opened` does, and SettingsError for a package that the plan is not for."""
        with contextlib.ExitStack() as stack:
            lineup = stack.enter_context(self._opens(package))
            self._planned = self._planned or lineup.payloads
            head = lineup.head(cut)
            if lineup.payloads != self._planned:
                raise errors.SettingsError(
                    f"{package.path}: its boundaries have other sizes than the plan says, so its cut cannot move by "
                    "it; push a model of the same architecture, or plan again and restart the edge"
                )
            if head is None:
                known = ", ".join(dict.fromkeys(each.choice.cut for each in lineup.candidates))
                raise errors.SettingsError(f"{package.path}: cut {cut.id} is none of the plan's candidates ({known})")
            self._open[head] = lineup, stack.pop_all()
        return head

    def open_plain(self, package: Package, cut: Cut) -> Head:
        return self.open(package, cut)

    def close(self, head: Head) -> None:
        """With all that was opened with it."""
        if head in self._open:
            self._open.pop(head)[1].close()

    def close_all(self) -> None:
        for head in list(self._open):
            self.close(head)

    def of(self, head: Head) -> Lineup | None:
        """What was opened with it."""
        found = self._open.get(head)
        return None if found is None else found[0]
