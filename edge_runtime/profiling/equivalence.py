"""Compares a head on an accelerator with the same head on the CPU: how much do their outputs differ by rounding?

The exact proof that a cut changes nothing is in `tflsplit.package.verify`; it holds for one runtime, not for devices.
"""

from collections.abc import Callable, Sequence

import numpy as np

from edge_runtime import head
from edge_runtime.accelerators.protocol import Accelerator, OpenModel
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package import verify
from tflsplit.package.reading import Package
from tflsplit.values.classes import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """The comparison of one cut's boundary: the largest difference of two elements in integer steps, the share of equal
    elements, and the share of samples for which the tail's largest outputs are in the same places. All are None if the
    head did not run on the accelerator, for `reason`.
    """

    cut: str
    max_steps: int | None = None
    equal_share: float | None = None
    top1_agreement: float | None = None
    reason: str | None = None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Comparison:
    accelerator: str
    cuts: tuple[Agreement, ...]

    def as_json(self) -> dict[str, object]:
        return {"name": self.accelerator, "cuts": [found.as_json() for found in self.cuts]}


def compare(
    package: Package,
    cuts: Sequence[Cut],
    samples: Sequence[tuple[Array, ...]],
    accelerator: Accelerator,
    *,
    on_cut: Callable[[Cut], None] = lambda cut: None,
) -> Comparison:
    """Compares every cut that has a head, in the order of `cuts`, on every sample.

    Raises the error of the deepest head (DeviceError; PackageError if none is compiled that has to be). If a shorter
    head cannot run on the accelerator, its agreement says so.
    """
    with_head = [cut for cut in cuts if cut.position > 0]
    runnable = [cut for cut in with_head if head.is_compiled(package, cut) or not accelerator.needs_compiled]
    found = {cut.id: Agreement(cut.id, reason="not compiled") for cut in with_head}
    deepest = max(runnable or with_head, key=lambda cut: cut.position, default=None)
    for cut in sorted(runnable or with_head[:1], key=lambda cut: -cut.position):
        try:
            opened = head.open_on(accelerator, package, cut)
        except errors.DeviceError as refused:
            if cut is deepest:
                raise
            found[cut.id] = Agreement(cut.id, reason=str(refused))
        else:
            try:
                found[cut.id] = _compare(package, cut, samples, opened)
            finally:
                opened.close()
        on_cut(cut)
    return Comparison(accelerator.name, tuple(found[cut.id] for cut in with_head))


def _compare(package: Package, cut: Cut, samples: Sequence[tuple[Array, ...]], device: OpenModel) -> Agreement:
    reference, tail = verify.open_pair(package, cut)
    steps, equal, elements, agreeing = 0, 0, 0, 0
    with reference, tail:
        for sample in samples:
            ours, theirs = reference.run(*sample), device.run(*sample)
            for one, other in zip(ours, theirs, strict=True):
                apart = np.abs(one.astype(np.float64) - other.astype(np.float64))
                steps = max(steps, int(np.ceil(apart.max(initial=0.0))))
                equal += int(np.count_nonzero(apart == 0))
                elements += apart.size
            agreeing += _largest(tail.run(*ours)) == _largest(tail.run(*theirs))
    return Agreement(cut.id, steps, equal / max(elements, 1), agreeing / len(samples))


def _largest(outputs: Sequence[Array]) -> tuple[int, ...]:
    return tuple(int(np.argmax(output)) for output in outputs)
