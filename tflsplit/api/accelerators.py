"""What runs a head, by the name that the caller gives: only such names, and a configuration's, load a library."""

import logging

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
    if name == choice.AUTO:
        return choice.automatic(is_compiled=head.is_compiled(package, cut), threads=threads)
    accelerator = choice.parse(name, threads=threads)
    if accelerator.is_external and cut.position == 0:
        raise errors.SettingsError(f"accelerator {name}: cut input computes nothing here; give another cut")
    return accelerator, None


def chosen(name: str, package: Package, cut: Cut, *, threads: int = 1) -> Accelerator:
    """The same; what "auto" chose is logged."""
    accelerator, why = named(name, package, cut, threads=threads)
    if why is not None:
        _log.info("accelerator chosen name=%s reason=%s", accelerator.name, why)
    return accelerator


def fallback(name: str | None, threads: int) -> Accelerator | None:
    return None if name is None else choice.parse(name, threads=threads)
