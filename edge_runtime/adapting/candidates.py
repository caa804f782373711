"""The cuts that an edge may move between, each with its head open and its frames described."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.delivery import framing
from edge_runtime.delivery.framing import Sending
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.package.reading import Package
from tflsplit.segments import Segments
from tflsplit.switching.choices import Choice


@dataclass(frozen=True, slots=True)
class Candidate:
    choice: Choice
    sending: Sending
    head: Head


@contextlib.contextmanager
def opened(package: Package, choices: Sequence[Choice], *, threads: int = 1) -> Iterator[list[Candidate]]:
    """All at once, as segments of one model on the CPU, so that moving costs nothing.

    CutError for a choice that is no cut of the package, PackageError in a bundle, which has no whole model to slice.
    """
    cuts = {choice.cut: package.cut(choice.cut) for choice in choices}
    if not cuts:
        raise errors.SettingsError(f"{package.path}: no cut to move between")
    with Segments(package, (package.cuts[0], *cuts.values()), threads=threads) as chain:
        computing = Cpu(threads=threads)
        heads = {name: Head(package, cut, accelerator=computing, segments=chain) for name, cut in cuts.items()}
        yield [
            Candidate(choice, framing.of(package, cuts[choice.cut], None, choice.bits), heads[choice.cut])
            for choice in choices
        ]
