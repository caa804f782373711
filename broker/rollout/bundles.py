"""What a device gets of a package: the edge's side alone, at its cut, made once for all devices of the same cuts."""

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from broker.rollout.devices import Device
from tflsplit import bundle, errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.manifest import Role
from tflsplit.package.reading import Package


class Bundles:
    """`pushed` is a package, which is cut for each device at its current cut, or at `cut`, and at all candidates of a
    device whose cut moves; or a bundle for the edge, which goes as it is. To be closed."""

    def __init__(self, pushed: Package, *, cut: str | None = None) -> None:
        self.pushed = pushed
        self._cut = None if cut is None else pushed.cut(cut)
        self._made: dict[tuple[str, ...], Package] = {}
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        self._stack.close()

    def cut_for(self, device: Device) -> Cut:
        """CutError if the model has none for it."""
        return self._cut or _cut_of_bundle(self.pushed) or device.cut_in(self.pushed)

    def made_for(self, device: Device, chosen: Cut) -> Package:
        """CutError or PackageError if it cannot be cut so."""
        cuts = [chosen, *(cut for cut in self._candidates(device) if cut != chosen)]
        wanted = tuple(cut.id for cut in cuts)
        if wanted not in self._made:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tflsplit-push-"))
            self._made[wanted] = _bundled(self.pushed, cuts, Path(folder))
        return self._made[wanted]

    def _candidates(self, device: Device) -> list[Cut]:
        known = {cut.id: cut for cut in self.pushed.cuts}
        lacking = [each for each in device.candidates if each not in known]
        if lacking:
            raise errors.CutError(
                f"{self.pushed.path}: device {device.name} moves its cut among {', '.join(device.candidates)}, and "
                f"this model has no {', '.join(lacking)}; push a model of the same architecture, or plan again and "
                "restart the edge"
            )
        return [known[each] for each in device.candidates]


def _cut_of_bundle(pushed: Package) -> Cut | None:
    """The cut of a bundle with one head; None for a package and any other bundle."""
    if pushed.manifest.role is not Role.EDGE:
        return None
    with_head = [cut for cut in pushed.cuts if cut.position > 0 and pushed.file(cut, "head") is not None]
    return with_head[0] if len(with_head) == 1 else None


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
