"""Whether a head computes here what it computed where its golden samples were made: equal, off by rounding, or wrong.

Where both machines' kernels are the same in the operators of the head, every bit has to agree. Where they are not, a
right model can be off by any number of steps at the end, since rounding adds up from operator to operator, and by as
much as a wrong weight changes. So each operator is also run alone (`tflsplit.package.alone`): there rounding is a step,
against what one of three kernels of the maker's machine gave, and a wrong weight is many. The boundary itself may be
off a few times as far as these three are from each other.
"""

import enum
import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.kernels import classes, keeping
from tflsplit.kernels.classes import KernelClass
from tflsplit.package import golden, steps
from tflsplit.package.golden import Golden
from tflsplit.package.reading import Package
from tflsplit.package.steps import Apart

if TYPE_CHECKING:
    from tflsplit.package.alone import Run

# Measured over 24 kinds of models with LiteRT 1.4.0 and 2.3.0 and tflite-runtime 2.14, on x86-64 and Cortex-A53: one
# operator alone is off by 1 step, a boundary at most 5 times as far as the versions are from each other, and with other
# weights 7 times or more.
_MOST_STEPS = 1
_MOST_EXCESS = 6.0

# A start takes half a second; a hundredth of it goes unnoticed. The first sample is free: the first frame would take as
# long, since it is what makes the interpreter ready.
_START_S = 0.005

log = logging.getLogger(__name__)


class Verdict(str, enum.Enum):
    """Equal to the bit; off by no more than rounding, where the kernels are known to differ; or wrong."""

    EQUAL = "equal"
    ROUNDED = "rounded"
    WRONG = "wrong"


class Found(NamedTuple):
    """`apart` is from the golden samples; `parts_at` names the first operator that gives something else here, where it
    was looked for; `because` is what makes it wrong. `made_on` and `here` are the kernel classes."""

    cut: str
    verdict: Verdict
    apart: Apart
    made_on: KernelClass | None
    here: KernelClass
    parts_at: str | None = None
    because: str = ""

    def __str__(self) -> str:
        where = f", from {self.parts_at}" if self.parts_at else ""
        if self.verdict is Verdict.EQUAL:
            return "equal here"
        return f"{self.apart}{where}" + (f": {self.because}" if self.because else "")

    def as_json(self) -> dict[str, object]:
        return {
            "cut": self.cut,
            "verdict": self.verdict.value,
            **self.apart.as_json(),
            "parts_at": self.parts_at,
            "because": self.because or None,
            "made_on": None if self.made_on is None else self.made_on.id,
            "here": self.here.id,
        }


def of_bundle(opened: Package, wanted: str) -> tuple[Found, ...]:
    """Runs the golden samples of each of the cuts here, on the CPU. PackageError where there are none."""
    found = []
    for cut in opened.select(wanted):
        kept = golden.read(opened, cut) if cut.position > 0 and opened.has(cut, "head") else None
        if kept is not None:
            with Interpreter(opened.head_bytes(cut), name=f"{opened.path}: head of {cut.id}") as head:
                found.append(judge(lambda given, head=head: head.run(*given), opened, cut, kept))  # type: ignore[misc]
    if not found:
        raise errors.PackageError(
            f"{opened.path}: a bundle for the {opened.manifest.role.value} side, without the whole model and without "
            f"golden samples of {wanted}; compare it with a record of the device (--against), or use the package"
        )
    return tuple(found)


def judge(run: "Run", opened: Package, cut: Cut, kept: Golden, *, is_cpu: bool = True) -> Found:
    """Runs all golden samples of a cut through its head. On an accelerator (not `is_cpu`) bits need not agree, and
    operators cannot run alone."""
    expected = [wanted for _, wanted in kept.samples]
    made = [run(given) for given, _ in kept.samples]
    check_shapes(made, cut)
    apart = steps.apart(made, expected)
    here = keeping.here()
    if apart.is_equal:
        return Found(cut.id, Verdict.EQUAL, apart, kept.made_on, here)
    if is_cpu and is_same(kept, opened, cut, here):
        because = f"every bit has to agree with {kept.made_on}, whose kernels are the same in this head"
        parts_at, _ = _alone(opened, cut, kept)
        return Found(cut.id, Verdict.WRONG, apart, kept.made_on, here, parts_at, because)
    parts_at, because = _alone(opened, cut, kept) if is_cpu else (None, "")
    because = because or _at_the_end(made, expected, kept, cut, is_cpu=is_cpu)
    verdict = Verdict.WRONG if because else Verdict.ROUNDED
    return Found(cut.id, verdict, apart, kept.made_on, here, parts_at, because)


def at_start(run: "Run", opened: Package, cut: Cut, *, is_cpu: bool) -> dict[str, object] | None:
    """For an edge's birth: one golden sample, and the next ones while `_START_S` last; None where there are none.

    It says `wrong` only where every bit has to agree: there is no time for more."""
    kept = golden.read(opened, cut, samples_only=True) if cut.position > 0 else None
    if kept is None:
        return None
    give_up_s = time.monotonic() + _START_S
    made: list[tuple[Array, ...]] = []
    for given, _ in kept.samples:
        if made and time.monotonic() >= give_up_s:
            break
        made.append(run(given))
    apart = steps.apart(made, [wanted for _, wanted in kept.samples[: len(made)]])
    verdict = Verdict.EQUAL
    if not apart.is_equal:
        verdict = Verdict.WRONG if is_cpu and is_same(kept, opened, cut, keeping.here()) else Verdict.ROUNDED
        tell = log.warning if verdict is Verdict.WRONG else log.info
        tell("golden samples differ cut=%s verdict=%s found=%s made_on=%s", cut.id, verdict.value, apart, kept.made_on)
    made_on = None if kept.made_on is None else kept.made_on.id
    return {"verdict": verdict.value, "cut": cut.id, "package": opened.digest, **apart.as_json(), "made_on": made_on}


def is_same(kept: Golden, opened: Package, cut: Cut, here: KernelClass) -> bool:
    """Whether the kernels that a head needs compute the same here as where its samples were made."""
    return kept.made_on is not None and are_same(kept.made_on, here, opened, cut)


def are_same(one: KernelClass, other: KernelClass, opened: Package, cut: Cut) -> bool:
    """Whether two classes promise the same for a head."""
    try:
        kinds = opened.head_kinds(cut)
    except errors.DeviceError:  # tflite-runtime runs heads and has no schema to read them by
        kinds = None
    return classes.compare(one, other, kinds).is_exact


def check_shapes(made: Sequence[tuple[Array, ...]], cut: Cut) -> None:
    """DeviceError unless these are boundaries of the cut."""
    wanted = [(spec.shape, spec.dtype) for spec in cut.boundary]
    for sample in made:
        kinds = [(array.shape, array.dtype.name) for array in sample]
        if kinds != wanted:
            raise errors.DeviceError(f"the head of {cut.id} gives {kinds}, which is not the cut's boundary")


def _at_the_end(
    made: Sequence[tuple[Array, ...]], expected: Sequence[tuple[Array, ...]], kept: Golden, cut: Cut, *, is_cpu: bool
) -> str:
    """What the boundary alone shows: another computation. Accelerators round in ways of their own."""
    versions = [expected, *kept.others]
    if len(versions) == 1:
        return _by_energy(made, expected, cut)
    found = steps.excess(made, versions)
    if found <= _MOST_EXCESS or (not is_cpu and not _by_energy(made, expected, cut)):
        return ""
    return f"{found:.1f} times as far off as other kernels are, more than {_MOST_EXCESS:g} is another computation"


def _by_energy(made: Sequence[tuple[Array, ...]], expected: Sequence[tuple[Array, ...]], cut: Cut) -> str:
    """Where there is nothing else to judge by. Rounding was seen to leave 18 dB, other weights leave 4 at most."""
    worst = min(
        steps.signal_db([each[place] for each in made], [each[place] for each in expected], spec.zero_point)
        for place, spec in enumerate(cut.boundary)
    )
    return "" if worst >= _LEAST_DB else f"{worst:.1f} dB, less than {_LEAST_DB:g} is another computation"


_LEAST_DB = 12.0


def _alone(opened: Package, cut: Cut, kept: Golden) -> tuple[str | None, str]:
    """The first operator that by itself gives something else than where the samples were made, and what is wrong if
    one does so as rounding cannot."""
    from tflsplit.package import alone

    parts_at, head = None, opened.head_bytes(cut)
    for place, (operator, ours) in enumerate(zip(kept.operators, alone.run(head, kept.operators), strict=True)):
        theirs = [version[place] for version in kept.alone]
        known = [rows for rows in theirs if rows is not None]
        if ours is None or not known or (theirs[0] is not None and ours.tobytes() == theirs[0].tobytes()):
            continue
        parts_at = parts_at or str(operator)
        off = min(steps.most_apart(ours, rows) for rows in known)
        if off > _MOST_STEPS:
            return parts_at, f"{operator} alone is off by {off:.0f} steps, and rounding by {_MOST_STEPS}"
    return parts_at, ""
