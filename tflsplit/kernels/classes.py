"""A kernel class: what one runtime on one processor computes, by operator kind; and two of them compared.

Machines of one class give the same integers. Where two classes differ in some operator kinds, a head without these is
exact between them all the same. This module owns the JSON form, which crosses machines.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tflsplit.values.classes import dataclass

LITERT = "ai-edge-litert "  # what the runtime of a class begins with
_MOST_KINDS = 200  # ten times what the probe tells apart
_LONGEST = 80
_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
_KIND = re.compile(r"[A-Z][A-Z0-9_]*/[a-z0-9]+(>[a-z0-9]+)?(:ties)?")

# These take and give the same stored integers, or compare them; there is nothing to round.
_MOVING = frozenset(
    {
        *("ARG_MAX", "ARG_MIN", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "EXPAND_DIMS", "FILL", "GATHER"),
        *("GATHER_ND", "MAX_POOL_2D", "MAXIMUM", "MINIMUM", "MIRROR_PAD", "PACK", "PAD", "PADV2", "REDUCE_MAX"),
        *("REDUCE_MIN", "RESHAPE", "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "SELECT", "SELECT_V2", "SHAPE", "SLICE"),
        *("SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TILE", "TRANSPOSE"),
        "UNPACK",
    }
)

# Kinds of many tensors and states, which the probe has no piece of. They were compared in whole models (x86-64 against
# Cortex-A53 and A72, LiteRT 2.3.0) and gave the same.
_ALIKE_IN_LITERT = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM/int8"})
# What XNNPACK computes otherwise than the runtime's own kernels, on one and the same machine; a test measures it.
_ROUNDED_BY_XNNPACK = frozenset(
    f"{name}/{types}"
    for names, each in (
        ("ADD CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED LEAKY_RELU MEAN MUL SUB TRANSPOSE_CONV", ("int8", "uint8")),
        ("QUANTIZE RESIZE_BILINEAR", ("int8",)),
        ("DEQUANTIZE", ("int8>float32", "uint8>float32")),
    )
    for name in names.split(" ")
    for types in each
)


@dataclass(frozen=True, slots=True)
class KernelClass:
    """`operators` has a fingerprint of 8 hexadecimal digits for each operator kind that the probe could run here.
    `machine` is by the word size of the process; `is_delegated` says whether the runtime hands int8 to XNNPACK."""

    runtime: str
    machine: str
    is_delegated: bool
    operators: Mapping[str, str]

    def __post_init__(self) -> None:
        for name in ("runtime", "machine"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 0 < len(value) <= _LONGEST or not value.isprintable():
                raise ValueError(f"{name} is {str(value)[:_LONGEST]!r}, expected one line of text")
        if not isinstance(self.is_delegated, bool):
            raise ValueError(f"delegated is {self.is_delegated!r}, expected true or false")
        if not isinstance(self.operators, Mapping) or len(self.operators) > _MOST_KINDS:
            raise ValueError(f"operators are no table of at most {_MOST_KINDS} kinds")
        for kind, fingerprint in self.operators.items():
            if not isinstance(kind, str) or len(kind) > _LONGEST or not _KIND.fullmatch(kind):
                raise ValueError(f"{str(kind)[:_LONGEST]!r} is no operator kind like CONV_2D/int8")
            if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
                raise ValueError(f"the fingerprint of {kind} is not 8 hexadecimal digits")

    def __hash__(self) -> int:
        return hash((self.runtime, self.machine, self.id))

    def __str__(self) -> str:
        return f"{self.id} ({self.runtime} on {self.machine}{'' if self.is_delegated else ', without XNNPACK'})"

    @property
    def id(self) -> str:
        """Equal for machines that computed the same in every piece of the probe."""
        told = json.dumps([self.is_delegated, sorted(self.operators.items())])
        return hashlib.sha256(told.encode()).hexdigest()[:8]

    @property
    def is_litert(self) -> bool:
        return self.runtime.startswith(LITERT)

    def as_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "runtime": self.runtime,
            "machine": self.machine,
            "delegated": self.is_delegated,
            "operators": dict(sorted(self.operators.items())),
        }

    @classmethod
    def from_json(cls, fields: Any) -> "KernelClass":
        """ValueError in one line for anything that `as_json` does not give, an `id` that is not the rest's included."""
        wanted = {"id", "runtime", "machine", "delegated", "operators"}
        if not isinstance(fields, dict) or not wanted <= set(fields):
            raise ValueError(f"a kernel class is an object with {', '.join(sorted(wanted))}")
        found = cls(fields["runtime"], fields["machine"], fields["delegated"], fields["operators"])
        if found.id != fields["id"]:
            raise ValueError(f"the kernel class says id {str(fields['id'])[:_LONGEST]!r} and has {found.id}")
        return found


class Agreement(NamedTuple):
    """What two classes say of a list of operator kinds: in which of them results differ, and of which nobody knows."""

    differing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        return not self.differing and not self.unknown

    def __str__(self) -> str:
        """`exact`, or what is not and why, for a log."""
        parts = [f"differs in {', '.join(self.differing)}"] if self.differing else []
        parts += [f"not known of {', '.join(self.unknown)}"] if self.unknown else []
        return "; ".join(parts) or "exact"


def compare(one: KernelClass, other: KernelClass, kinds: Iterable[str] | None = None) -> Agreement:
    """Whether both give the same integers for a head of these operator kinds (`tflsplit.graph.kinds`), by default for
    any head of what was probed."""
    # The same build of the same runtime that computed the same throughout has the same kernels elsewhere.
    is_same_build = (one.id, one.runtime, one.machine) == (other.id, other.runtime, other.machine)
    differing: list[str] = []
    unknown: list[str] = []
    for kind in sorted({*one.operators, *other.operators} if kinds is None else set(kinds)):
        here, there = one.operators.get(kind), other.operators.get(kind)
        if is_same_build or moves(kind) or (here is not None and here == there):
            continue
        if is_alike_in_litert(kind) and one.is_litert and other.is_litert:
            continue
        (differing if here is not None and there is not None else unknown).append(kind)
    return Agreement(tuple(differing), tuple(unknown))


def without_xnnpack(left: Iterable[str]) -> tuple[str, ...]:
    """Of the operator kinds that an open head leaves to the runtime's own kernels (`Interpreter.kinds`), those of which
    a class with XNNPACK says nothing: there processors differ."""
    return tuple(kind for kind in left if kind in _ROUNDED_BY_XNNPACK)


def is_alike_in_litert(kind: str) -> bool:
    """Whether whole models with this kind, of which there is no piece in the probe, gave the same on all of LiteRT."""
    return kind in _ALIKE_IN_LITERT


def moves(kind: str) -> bool:
    """Whether operators of this kind only move or compare stored integers, so that any kernel gives the same."""
    return kind.partition("/")[0] in _MOVING
