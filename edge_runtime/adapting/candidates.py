"""The cuts that an edge may move between, each with its frames described, and with its head as far as that is open."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence

from edge_runtime import batched
from edge_runtime import head as edge_head
from edge_runtime.accelerators.cpu import Cpu
from edge_runtime.accelerators.protocol import Accelerator
from edge_runtime.accelerators.service import Counters
from edge_runtime.adapting.device_heads import DeviceHeads
from edge_runtime.delivery import framing
from edge_runtime.delivery.framing import Sending
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.coding import input_codec
from tflsplit.graph.cuts import Cut
from tflsplit.package import reading
from tflsplit.package.reading import Package
from tflsplit.segments import Segments
from tflsplit.switching.choices import Choice
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """`head` is None where an accelerator has it, or is to load it (`device_heads`). `chain` reaches from each to the
    last, None where there is no whole model."""

    choice: Choice
    sending: Sending
    head: Head | None
    chain: Segments | None


@dataclass(frozen=True, slots=True)
class Computing:
    """What runs heads: `accelerator`, which is not in this process, and `fallback` where that cannot."""

    accelerator: Accelerator
    fallback: Accelerator | None = None

    def can_run(self, package: Package, cut: Cut) -> bool:
        """Whether the cut may be a candidate: the accelerator has a head for it, or it may run on the CPU."""
        is_there = edge_head.can_run(self.accelerator, package, cut) or self.fallback is not None
        return cut.position == 0 or is_there

    def head(self, package: Package, cut: Cut, chain: Segments | None, counters: Counters | None = None) -> Head:
        """Open, on the fallback as one of the segments."""
        return Head(
            *(package, cut),
            accelerator=self.accelerator,
            fallback=self.fallback,
            segments=chain,
            counters=counters,
        )


@contextlib.contextmanager
def opened(
    package: Package, choices: Sequence[Choice], *, threads: int = 1, batch: int = 1
) -> Iterator[list[Candidate]]:
    """All at once, on the CPU, so that moving costs nothing: as segments of one model, or in a bundle without it as
    heads that each hold their weights; each for up to `batch` inputs. CutError for a choice that is no cut of the
    package, SettingsError for one that does not take so many."""
    cuts = {choice.cut: package.cut(choice.cut) for choice in choices}
    if not cuts:
        raise errors.SettingsError(f"{package.path}: no cut to move between")
    for cut in cuts.values():
        framing.check_batch(package, cut, batch)
    with contextlib.ExitStack() as stack:
        chain = _chained(stack, package, cuts.values(), threads, batch)
        computing = Cpu(threads=threads)
        heads = {
            name: stack.enter_context(Head(package, cut, accelerator=computing, segments=chain, batch=batch))
            for name, cut in cuts.items()
        }
        package.forget_graph()
        yield _candidates(package, choices, heads, chain)


@contextlib.contextmanager
def opened_on(
    package: Package, choices: Sequence[Choice], start: str, computing: Computing, *, threads: int = 1
) -> Iterator[tuple[list[Candidate], DeviceHeads]]:
    """On an accelerator, of which only the head of the cut `start` is open; with a `fallback` the segments on the CPU
    too.

    Raises what `opened` does, and DeviceError or PackageError where the accelerator does not take that head.
    """
    cuts = {choice.cut: package.cut(choice.cut) for choice in choices}
    with contextlib.ExitStack() as stack:
        may_bridge = computing.fallback is not None
        chain = _chained(stack, package, cuts.values(), threads) if may_bridge else None
        device = stack.enter_context(contextlib.closing(_on_device(package, cuts, start, computing, chain)))
        heads = {
            name: computing.head(package, cut, chain)
            for name, cut in cuts.items()
            if cut.position == 0 or not edge_head.can_run(computing.accelerator, package, cut)
        }
        yield _candidates(package, choices, heads, chain), device


def _chained(
    stack: contextlib.ExitStack, package: Package, cuts: Iterable[Cut], threads: int, batch: int = 1
) -> Segments | None:
    """None where the package has no whole model to slice."""
    if reading.MODEL not in package.manifest.files:
        log.info("heads are open side by side, each with its weights reason=the bundle has no whole model")
        return None
    return stack.enter_context(batched.chained(package, (package.cuts[0], *cuts), threads=threads, batch=batch))


def _candidates(
    package: Package, choices: Sequence[Choice], heads: Mapping[str, Head], chain: Segments | None
) -> list[Candidate]:
    return [Candidate(choice, _sending(package, choice), heads.get(choice.cut), chain) for choice in choices]


def _sending(package: Package, choice: Choice) -> Sending:
    codec = None if choice.pixels is None else input_codec.parse(choice.pixels)
    return framing.of(package, package.cut(choice.cut), codec, choice.bits)


def _on_device(
    package: Package, cuts: Mapping[str, Cut], start: str, computing: Computing, chain: Segments | None
) -> DeviceHeads:
    counters = Counters()
    # Without segments a spare one would take its weights again: frames wait then.
    spares = {name: Head(package, cut, segments=chain) for name, cut in cuts.items()} if chain else {}
    return DeviceHeads(start, lambda cut: computing.head(package, cuts[cut], chain, counters), spares)
