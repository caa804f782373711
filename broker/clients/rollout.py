"""Pushes one package to several devices, one after the other, and stops at the first that fails."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from broker.clients.update_push import Outcome, Pusher, Signer
from tflsplit import bundle, errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.manifest import Role
from tflsplit.package.reading import Package


def roll_out(
    pusher: Pusher,
    pushed: Package,
    devices: Sequence[str],
    signer: Signer,
    *,
    cut: str | None = None,
    url: str | None = None,
    wait_s: float,
) -> Iterator[Outcome]:
    """The outcome for each device, up to the first that did not install the package.

    `pushed` is a package, which is cut for each device at its current cut, or at `cut`; or a bundle for the edge, which
    is sent as it is. CutError or PackageError if it cannot be cut so, PeerError if a device takes no updates.
    """
    with contextlib.ExitStack() as stack:
        made: dict[str, Package] = {}
        for name in devices:
            device = pusher.look(name, wait_s=min(wait_s, 10.0))
            chosen = pushed.cut(cut) if cut is not None else _cut_of_bundle(pushed) or device.cut_in(pushed)
            if chosen.id not in made:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tflsplit-push-"))
                made[chosen.id] = _bundled(pushed, chosen, Path(folder))
            outcome = pusher.push(device, made[chosen.id], chosen, signer, url=url, wait_s=wait_s)
            yield outcome
            if not outcome.is_installed:
                return


def _cut_of_bundle(pushed: Package) -> Cut | None:
    """The cut of a bundle with one head; None for a package and any other bundle."""
    if pushed.manifest.role is not Role.EDGE:
        return None
    with_head = [cut for cut in pushed.cuts if cut.position > 0 and pushed.file(cut, "head") is not None]
    return with_head[0] if len(with_head) == 1 else None


def _bundled(pushed: Package, cut: Cut, folder: Path) -> Package:
    if pushed.manifest.role is not Role.EDGE:
        return bundle.write(folder / "edge.tflsplit", pushed, Role.EDGE, (cut,))
    if cut.position > 0 and not pushed.has(cut, "head"):
        raise errors.PackageError(f"{pushed.path}: a bundle without the head of {cut.id}; push the whole package")
    return pushed
