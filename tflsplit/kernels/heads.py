"""What a head is computed with, and whether another machine's kernels would give the same integers.

This module owns the words for it, in births, results, logs and plans.
"""

import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tflsplit.kernels import classes, exactness
from tflsplit.kernels.classes import Agreement, KernelClass

_MOST_KINDS = 200
_LONGEST_KIND = 80
_UNCOMPARED = Agreement()
_SETTLES = "`tflsplit verify --record FILE` there and `--against FILE` here settle it"


class Exact(str, enum.Enum):
    """What is wished of a pair: `REQUIRE` runs only what is exact, `PREFER` warns of anything else, `ANY` does not."""

    REQUIRE = "require"
    PREFER = "prefer"
    ANY = "any"


class Standing(str, enum.Enum):
    """Whether a head gives on its machine what it would give on another one, bit for bit."""

    EXACT = "exact"
    INEXACT = "inexact"
    UNKNOWN = "unknown"

    @property
    def is_exact(self) -> bool | None:
        """None where it is not known."""
        return {Standing.EXACT: True, Standing.INEXACT: False}.get(self)

    @classmethod
    def of(cls, is_exact: bool | None) -> "Standing":
        return cls.UNKNOWN if is_exact is None else cls.EXACT if is_exact else cls.INEXACT


class HeadKernels(NamedTuple):
    """The operator kinds of a head (none at the cut `input`) and the class of what runs it; None where it is not known,
    say because an older version runs there."""

    kernel_class: KernelClass | None
    kinds: tuple[str, ...]

    def __str__(self) -> str:
        return "no kernel class" if self.kernel_class is None else str(self.kernel_class)

    def as_json(self) -> dict[str, object]:
        return {
            "kernel_class": None if self.kernel_class is None else self.kernel_class.as_json(),
            "head_operators": list(self.kinds),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "HeadKernels | None":
        """Out of a birth; None for one of before there were classes, ValueError for anything that is none."""
        if "head_operators" not in fields:
            return None
        kinds, told = fields["head_operators"], fields.get("kernel_class")
        if not isinstance(kinds, list) or len(kinds) > _MOST_KINDS:
            raise ValueError(f"head_operators are no list of at most {_MOST_KINDS} kinds")
        for kind in kinds:
            if not isinstance(kind, str) or not 0 < len(kind) <= _LONGEST_KIND or not kind.isprintable():
                raise ValueError(f"{str(kind)[:_LONGEST_KIND]!r} is no operator kind like CONV_2D/int8")
        return cls(None if told is None else KernelClass.from_json(told), tuple(kinds))

    def against(self, other: KernelClass | None) -> "Comparison":
        """Compared with the kernels of another machine, for the operators of this head."""
        if not self.kinds:
            return Comparison(Standing.EXACT, self, other)
        if self.kernel_class is None or other is None:
            return Comparison(Standing.UNKNOWN, self, other)
        found = classes.compare(self.kernel_class, other, self.kinds)
        standing = Standing.INEXACT if found.differing else Standing.UNKNOWN if found.unknown else Standing.EXACT
        return Comparison(standing, self, other, found)


class Comparison(NamedTuple):
    """A head's kernels against another machine's class."""

    standing: Standing
    head: HeadKernels
    other: KernelClass | None
    agreement: Agreement = _UNCOMPARED

    @property
    def is_exact(self) -> bool:
        return self.standing is Standing.EXACT

    def __str__(self) -> str:
        """Why it is not exact, and what settles it where nobody has measured such a machine."""
        if self.is_exact:
            return "exact"
        kinds = ", ".join(self.agreement.differing)
        if kinds:
            words = f"{kinds} may differ by a step or more"
        elif self.agreement.unknown:
            words = f"nothing is known of {', '.join(self.agreement.unknown)}"
        elif self.head.kernel_class is None:
            return "the edge tells no kernel class"
        else:
            return "the cloud tells no kernel class"
        ours = self.head.kernel_class
        if ours is None or not ours.operators or exactness.names_of(ours):
            return words
        return f"{words}; kernels {ours.id} are none that were measured, {_SETTLES}"


def of_accelerator(name: str, told: Iterable[str], kinds: Iterable[str], cpu: KernelClass) -> KernelClass:
    """The class of an accelerator, which rounds in its own way: that of its library and compiler (`told`), exact
    against nothing but the same. What it leaves to the CPU is the CPU's."""
    build = json.dumps([name, *told, cpu.id])
    made = {kind: hashlib.sha256(f"{build} {kind}".encode()).hexdigest()[:8] for kind in kinds}
    digest = hashlib.sha256(build.encode()).hexdigest()[:8]
    return KernelClass(f"{name[:60]} {digest}", cpu.machine, False, made)
