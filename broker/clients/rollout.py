"""Pushes one package to several devices, one after the other, and stops at the first that fails."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from broker.clients.update_push import Device, Outcome, Pusher, Signer
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

    `pushed` is a package, which is cut for each device at its current cut, or at `cut`, and at all candidates of a
    device whose cut moves; or a bundle for the edge, which is sent as it is. CutError or PackageError if it cannot be
    cut so, PeerError if a device takes no updates.
    """
    with contextlib.ExitStack() as stack:
        made: dict[tuple[str, ...], Package] = {}
        for name in devices:
            device = pusher.look(name, wait_s=min(wait_s, 10.0))
            chosen = pushed.cut(cut) if cut is not None else _cut_of_bundle(pushed) or device.cut_in(pushed)
            cuts = [chosen, *(cut for cut in _candidates(pushed, device) if cut != chosen)]
            wanted = tuple(cut.id for cut in cuts)
            if wanted not in made:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tflsplit-push-"))
                made[wanted] = _bundled(pushed, cuts, Path(folder))
            outcome = pusher.push(device, made[wanted], chosen, signer, url=url, wait_s=wait_s)
            yield outcome
            if not outcome.is_installed:
                return


def _cut_of_bundle(pushed: Package) -> Cut | None:
    """The cut of a bundle with one head; None for a package and any other bundle."""
    if pushed.manifest.role is not Role.EDGE:
        return None
    with_head = [cut for cut in pushed.cuts if cut.position > 0 and pushed.file(cut, "head") is not None]
    return with_head[0] if len(with_head) == 1 else None


def _candidates(pushed: Package, device: Device) -> list[Cut]:
    known = {cut.id: cut for cut in pushed.cuts}
    lacking = [each for each in device.candidates if each not in known]
    if lacking:
        raise errors.CutError(
            f"{pushed.path}: device {device.name} moves its cut among {', '.join(device.candidates)}, and this model "
            f"has no {', '.join(lacking)}; push a model of the same architecture, or plan again and restart the edge"
        )
    return [known[each] for each in device.candidates]


def _bundled(pushed: Package, cuts: Sequence[Cut], folder: Path) -> Package:
    """What a device begins with at the first of these cuts, and moves among them."""
    if pushed.manifest.role is not Role.EDGE:
        return bundle.write(folder / "edge.tflsplit", pushed, Role.EDGE, cuts, moves=len(cuts) > 1)
    lacking = [cut.id for cut in cuts if cut.position > 0 and not pushed.has(cut, "head")]
    if lacking:
        raise errors.PackageError(
            f"{pushed.path}: a bundle without the head of {', '.join(lacking)}; push the whole package"
        )
    return pushed
