"""Operators whose result mixes columns of different size, and the cut that keeps them apart."""

from collections.abc import Mapping, Sequence
from math import inf

from tflsplit.graph.cuts import Cut
from tflsplit.losses import columns
from tflsplit.losses.columns import Group
from tflsplit.losses.measurement import Measured, OperatorLoss
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Mixed:
    """`cut` is the last one before the operator where each tensor has a scale of its own, behind which a float tail
    goes on; None where there is none."""

    operator: int
    kind: str
    groups: tuple[Group, ...]
    cut: str | None
    remedy: str

    def __str__(self) -> str:
        least = min(self.groups, key=lambda group: group.sqnr_db)
        beside = "".join(f" beside {group}" for group in self.groups if group is not least)
        where = f"op{self.operator:03d} ({self.kind})"
        return f"{where} gives columns of different size one scale: {least}{beside}; {self.remedy}"


def find(measured: Measured, cuts: Sequence[Cut], *, has_float_tails: bool, came_quantised: bool) -> Mixed | None:
    """The first operator that mixes, if one does. `cuts` are those that have a tail."""
    first = next((each for each in measured.operators if each.groups), None)
    if first is None:
        return None
    cut = _before(first, cuts, measured.kept_db)
    if cut is None:
        remedy = "no cut lies before it"
    elif has_float_tails:
        remedy = f"cut at {cut.id}: its float tail keeps them apart"
    elif came_quantised:
        remedy = f"they still lie apart at {cut.id}: convert the float model with --tail float32 and cut there"
    else:
        remedy = f"convert with --tail float32 and cut at {cut.id}, where they still lie apart"
    return Mixed(first.index, first.name, first.groups, None if cut is None else cut.id, remedy)


def _before(mixing: OperatorLoss, cuts: Sequence[Cut], kept_db: Mapping[int, float]) -> Cut | None:
    before = [cut for cut in cuts if cut.position <= mixing.index]
    fine = [cut for cut in before if all(kept_db.get(index, inf) >= columns.FINE_DB for index in cut.tensors)]
    return fine[-1] if fine else None
