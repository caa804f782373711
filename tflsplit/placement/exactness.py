"""Whether a shared model gives what the whole gives: what machines' kernel classes say, and what was measured here."""

from collections.abc import Sequence

import numpy as np

from tflsplit import text
from tflsplit.graph import kinds
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array
from tflsplit.kernels import classes, keeping, requantisation
from tflsplit.kernels.classes import KernelClass
from tflsplit.placement import running
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Placement, Schedule
from tflsplit.placement.rewriting.network import Network
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Proof:
    """`reasons` are why machines are known to compute otherwise than each other. `differing` of so many `elements` that
    were compared here are not the whole's, by at most `steps` (of a float result, by that number)."""

    reasons: tuple[str, ...] = ()
    elements: int = 0
    differing: int = 0
    steps: float = 0.0

    @property
    def is_exact(self) -> bool:
        return not self.reasons and not self.differing

    def __str__(self) -> str:
        parts = list(self.reasons)
        if self.differing:
            of, by = text.counted(self.elements, "element"), text.counted(int(self.steps), "step")
            parts.append(f"{self.differing} of {of} differ here from the whole's, by at most {by}")
        elif self.elements and self.reasons:
            parts.append(f"none of {text.counted(self.elements, 'element')} differs here")
        return "; ".join(parts) or "exact"

    def as_json(self) -> dict[str, object]:
        return {
            "reasons": list(self.reasons),
            "compared": self.elements,
            "differing": self.differing,
            "largest_difference": self.steps,
        }


def can_add(cluster: Cluster) -> bool:
    """Whether sums of input channels may be finished: this runtime requantises as that does, by its own showing, and
    machines that state their kernels have the same for it."""
    named = tuple(f"{kind}/int8" for kind in requantisation.KINDS)
    stated = [each.kernel_class for each in cluster.machines if each.kernel_class is not None]
    if requantisation.differing():
        return False
    ours = keeping.told() if stated else None
    return all(ours is not None and classes.compare(ours, each, named).is_exact for each in stated)


def reasons(network: Network, schedule: Schedule, cluster: Cluster) -> tuple[str, ...]:
    """Of the machines that take part, those that are known to compute what they run otherwise than the sink, or than
    the first that states its kernels."""
    each_kind = kinds.each(network.graph)
    run: list[set[str]] = [set() for _ in cluster.machines]
    for step in schedule.steps:
        for machine, found in enumerate(run):
            found.update(each_kind[part.operator.index] for piece in step.run_by(machine) for part in piece.parts)
    machines = cluster.machines
    stated = [each for each in (cluster.sink, *range(len(machines))) if run[each] and machines[each].kernel_class]
    told = []
    for each in sorted(set(stated)):
        first, other = machines[stated[0]].kernel_class, machines[each].kernel_class
        if first is None or other is None:
            continue
        differing = classes.compare(first, other, run[each]).differing
        if differing:
            like = machines[stated[0]].name
            told.append(f"{machines[each].name} ({other}) computes {_listed(differing)} otherwise than {like}")
    return tuple(told)


def prove(
    network: Network,
    placed: Placement,
    schedule: Schedule,
    cluster: Cluster,
    *,
    whole: Interpreter,
    samples: Sequence[Sequence[Array]],
) -> Proof:
    """Run in this process, machines that state to be without XNNPACK with the runtime's own kernels."""
    kernels = [_kernels(machine.kernel_class) for machine in cluster.machines]
    elements, differing, largest = 0, 0, 0.0
    for sample in samples:
        made = running.run(network, placed, schedule, sample, kernels=kernels)
        for expected, part in zip(whole.run(*sample), made, strict=True):
            elements += expected.size
            if expected.tobytes() != part.tobytes():
                apart = np.abs(expected.astype(np.float64) - part.astype(np.float64))
                differing += int(np.count_nonzero(apart)) or 1
                largest = max(largest, float(np.nanmax(apart)))
    return Proof(reasons(network, schedule, cluster), elements, differing, largest)


def _kernels(stated: KernelClass | None) -> Kernels:
    return Kernels.SERVING if stated is None or stated.is_delegated else Kernels.BUILTIN


def _listed(differing: Sequence[str]) -> str:
    shown = ", ".join(differing[:3])
    return shown if len(differing) <= 3 else f"{shown} and {len(differing) - 3} more"
