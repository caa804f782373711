"""What runs a head, by the name that the caller gives: only such names, and a configuration's, load a library."""

import logging
from collections.abc import Iterable

from edge_runtime import head
from edge_runtime.accelerators import choice
from edge_runtime.accelerators.protocol import Accelerator
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package

_log = logging.getLogger(__name__)


def named(name: str, package: Package, cut: Cut, *, threads: int = 1) -> tuple[Accelerator, str | None]:
    """The accelerator of that name, and for "auto" why it was chosen: the Edge TPU if the cut's head is compiled and
    one answers, else the CPU."""
    accelerator, why = of_any(name, package, (cut,), threads=threads)
    if accelerator.is_external and cut.position == 0:
        raise errors.SettingsError(f"accelerator {name}: cut input computes nothing here; give another cut")
    return accelerator, why


def of_any(name: str, package: Package, cuts: Iterable[Cut], *, threads: int = 1) -> tuple[Accelerator, str | None]:
    """The same for an edge that runs the heads of several cuts, one of which should be compiled."""
    if name == choice.AUTO:
        return choice.automatic(is_compiled=any(head.is_compiled(package, cut) for cut in cuts), threads=threads)
    return choice.parse(name, threads=threads), None


def chosen(name: str, package: Package, cut: Cut, *, threads: int = 1) -> Accelerator:
    """The same; what "auto" chose is logged."""
    accelerator, why = named(name, package, cut, threads=threads)
    if why is not None:
        _log.info("accelerator chosen name=%s reason=%s", accelerator.name, why)
    return accelerator


def fallback(name: str | None, threads: int) -> Accelerator | None:
    return None if name is None else choice.parse(name, threads=threads)
