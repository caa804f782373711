"""What is exact where, known without running anything: from the kernel classes that were measured, in `known.json`.

`tests/support/known_classes.py` measures them again, on this machine with each of the runtimes, and on emulated Arm.
An operator kind that computes the same in all of them is exact everywhere measured.
"""

import enum
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tflsplit.kernels import classes
from tflsplit.kernels.classes import KernelClass

KNOWN = Path(__file__).with_name("known.json")


class Exactness(str, enum.Enum):
    """From the strongest to the weakest: on which machines an operator gives the same integers."""

    EVERYWHERE = "exact everywhere measured"
    LITERT = "not exact with tflite-runtime"
    ONE_CLASS = "exact on one kernel class"
    UNKNOWN = "not measured"


class Verdict(NamedTuple):
    """`because` are the operator kinds that keep a head from a stronger one, none where it is the strongest."""

    exact_on: Exactness
    because: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.exact_on.value + (f" ({', '.join(self.because)})" if self.because else "")


def of_kinds(kinds: Iterable[str]) -> Verdict:
    """Of a head with these operator kinds: it is as exact as the least exact of them."""
    found = {kind: of_kind(kind) for kind in sorted(set(kinds))}
    order = list(Exactness)
    worst = max(found.values(), key=order.index, default=Exactness.EVERYWHERE)
    if worst is Exactness.EVERYWHERE:
        return Verdict(worst)
    return Verdict(worst, tuple(kind for kind, each in found.items() if each is worst))


@cache
def of_kind(kind: str) -> Exactness:
    if classes.moves(kind):
        return Exactness.EVERYWHERE
    if classes.is_alike_in_litert(kind):
        return Exactness.LITERT
    fingerprints: dict[bool, set[str | None]] = {True: set(), False: set()}
    for each in known().values():
        fingerprints[each.is_litert].add(each.operators.get(kind))
    if fingerprints[True] == {None}:
        return Exactness.UNKNOWN
    if len(fingerprints[True]) > 1:
        return Exactness.ONE_CLASS
    return Exactness.EVERYWHERE if fingerprints[True] == fingerprints[False] else Exactness.LITERT


@cache
def known() -> Mapping[str, KernelClass]:
    """The classes that were measured, by the machine and the runtime that they were measured on."""
    fields = json.loads(KNOWN.read_text("utf-8"))
    return {str(name): KernelClass.from_json(each) for name, each in fields.items()}


def names_of(kernel_class: KernelClass) -> tuple[str, ...]:
    """The measured machines that compute as this one does; none for a processor or a runtime that nobody knows."""
    return tuple(name for name, each in known().items() if each.id == kernel_class.id)
