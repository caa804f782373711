"""Whether the head in use gives what it would give in the clouds that answer it, as far as these tell their kernels.

What follows is the user's wish: frames wait for a cloud that makes the pair exact and the edge ends where one does not
(`require`), or a difference is said once (`prefer`), or nothing is (`any`).
"""

import logging
import threading
from collections.abc import Sequence

from edge_runtime.delivery.clouds import Clouds
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.kernels.classes import KernelClass
from tflsplit.kernels.heads import Comparison, Exact, HeadKernels, Standing
from tflsplit.package.reading import Package

log = logging.getLogger(__name__)

# More cuts are named by the first and the last.
_MOST_NAMED = 4


class Exactness:
    """`look` is for one thread at a time, any may ask the rest."""

    def __init__(self, wish: Exact, clouds: Clouds) -> None:
        self.standing = Standing.UNKNOWN
        self._wish = wish
        self._clouds = clouds
        self._seen: tuple[object, ...] = ()
        self._said: dict[str, tuple[object, ...]] = {}  # what was said last of each cut, among which an edge may move
        self._is_granted = threading.Event()
        if wish is not Exact.REQUIRE:
            self._is_granted.set()

    @property
    def is_awaited(self) -> bool:
        """Whether frames wait for a cloud that tells its kernels."""
        return not self._is_granted.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Whether frames may be sent, waiting up to `timeout_s`."""
        return self._is_granted.is_set() or self._is_granted.wait(timeout_s)

    def allows(self, package: Package, head: Head, loss: str = "") -> bool:
        """Whether that head may be moved to, as far as the clouds are known."""
        if self._wish is not Exact.REQUIRE:
            return True
        _, found = self._weakest(package, head)
        return not loss and (found is None or found.is_exact)

    def look(self, package: Package, head: Head, loss: str = "", others: Sequence[tuple[Head, str]] = ()) -> None:
        """Called regularly, and when a cloud has come; `loss` says what frames lose on their way. `others` are heads
        that the next frame may take instead. PeerError where exactness is required and is nowhere to be had."""
        seen = (head, head.condition.runs_on, loss, self._clouds.changes)
        if seen == self._seen:
            return
        self._seen = seen
        cloud, found = self._weakest(package, head)
        self.standing = Standing.INEXACT if loss else Standing.UNKNOWN if found is None else found.standing
        if found is None:
            return
        is_exact = found.is_exact or any(self.allows(package, *other) for other in others)
        if self._wish is Exact.REQUIRE and not is_exact:
            raise errors.PeerError(self._refusal(package, head, cloud, found))
        self._is_granted.set()
        said = (package.digest, cloud, str(found.head), str(found.other), found.standing, loss)
        if self._wish is not Exact.ANY and said != self._said.get(head.cut.id):
            _say(package, head, cloud, found, loss)
        self._said[head.cut.id] = said

    def check(self, package: Package, head: Head) -> None:
        """SettingsError if exactness is required, and the clouds as they are known would not give it to this head."""
        cloud, found = self._weakest(package, head)
        if self._wish is Exact.REQUIRE and found is not None and not found.is_exact:
            raise errors.SettingsError(self._refusal(package, head, cloud, found))

    def _weakest(self, package: Package, head: Head) -> tuple[str, Comparison | None]:
        """The cloud whose comparison is the least exact of those that serve the package; None if none is known."""
        kernels = head.kernels
        if not kernels.kinds:
            return "any", kernels.against(None)
        found = {name: kernels.against(told) for name, told in self._clouds.kernel_classes(package.digest).items()}
        order = (Standing.INEXACT, Standing.UNKNOWN, Standing.EXACT)
        cloud = min(found, key=lambda name: order.index(found[name].standing), default="")
        return cloud, found.get(cloud)

    def _refusal(self, package: Package, head: Head, cloud: str, found: Comparison) -> str:
        return (
            f"exact is required, and at {head.cut.id} {found}: kernels here are {found.head}, those of cloud "
            f"{cloud} {found.other}; exact would be {exact_cuts(package, found)}, or run with --exact prefer"
        )


def exact_cuts(package: Package, found: Comparison) -> str:
    """The cuts of a package, or of what a bundle has of it, whose heads would be exact between the same two machines.
    `input` is one always."""
    ids = [
        cut.id
        for cut in package.cuts
        if cut.position == 0 or (package.has(cut, "head") and _of(package, cut.id, found.head.kernel_class, found))
    ]
    return ", ".join(ids) if len(ids) <= _MOST_NAMED else f"{ids[0]} to {ids[-1]} ({len(ids)} cuts)"


def _of(package: Package, cut: str, ours: KernelClass | None, found: Comparison) -> bool:
    return HeadKernels(ours, package.head_kinds(package.cut(cut))).against(found.other).is_exact


def _say(package: Package, head: Head, cloud: str, found: Comparison, loss: str) -> None:
    if found.is_exact and loss:
        log.info("results are near, not exact cloud=%s cut=%s reason=%s", cloud, head.cut.id, loss)
        return
    if found.is_exact:
        log.info("results are exact cloud=%s cut=%s kernels=%s", cloud, head.cut.id, found.head)
        return
    phrase = "results may differ" if found.standing is Standing.INEXACT else "results not known to be exact"
    log.warning(
        f"{phrase} cloud=%s cut=%s kernels=%s there=%s reason=%s exact_cuts=%s",
        *(cloud, head.cut.id, found.head, found.other, found, exact_cuts(package, found)),
    )
