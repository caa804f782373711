"""Frames of several inputs, for a profile: which cuts take them, and the rows to measure with."""

from collections.abc import Sequence

from edge_runtime import batched
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.protocol import Accelerator
from edge_runtime.delivery import framing
from edge_runtime.sources import captured
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.graph.tensors import Array
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace


def accepting(
    package: Package, cuts: Sequence[Cut], batch: int, heads_on: Accelerator | None
) -> tuple[tuple[Cut, ...], tuple[str, ...]]:
    """The cuts whose frames may hold so many inputs, and for each other one why not. With `heads_on` each head has to
    give the same bits for all of them at once there; tails run input by input.

    SettingsError if there is no cut left, or the accelerator takes one input at a time.
    """
    found, reasons = [], []
    for cut in cuts:
        try:
            framing.check_batch(package, cut, batch)
            if heads_on is not None and cut.head.operators:
                batched.open_on(heads_on, package, cut, batch).close()
        except errors.SettingsError as refused:
            reasons.append(f"{cut.id} is left out: {refused}")
            continue
        found.append(cut)
    if not any(cut.head.operators for cut in found):
        raise errors.SettingsError(reasons[-1] if reasons else f"{package.path}: no cut has a head")
    return tuple(found), tuple(reasons)


def too_few(inputs: Sequence[tuple[Array, ...]], batch: int) -> tuple[str, ...]:
    """What a profile says of frames in which inputs come again."""
    if len(inputs) >= batch:
        return ()
    return (f"{len(inputs)} samples for batches of {batch}: they come again in a frame, so coded sizes are too small",)


def widened(accelerator: Accelerator, batch: int) -> Accelerator:
    """The CPU that `accepting` has tried, for heads that take so many inputs at once."""
    return replace(accelerator, batch=batch) if isinstance(accelerator, Cpu) and batch > 1 else accelerator


def frames(inputs: Sequence[tuple[Array, ...]], batch: int, count: int) -> tuple[tuple[Array, ...], ...]:
    """The inputs as the rows of `count` frames; each begins one input later, and inputs that are too few come again."""
    if batch == 1:
        return tuple(inputs)
    return tuple(captured.rows([inputs[(first + row) % len(inputs)] for row in range(batch)]) for first in range(count))
