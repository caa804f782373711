"""The stream of an edge with a stateful package: what its head keeps, and which frame follows which.

A frame that is not accepted is not in the stream: the head goes on from what it kept before it. Where an accepted one
gets no result, the tail may not have seen it; then the stream begins anew with the next frame, at both ends.
"""

import logging

from edge_runtime.delivery.observer import OwnAnswer, Settled, refusal_of
from edge_runtime.delivery.run import Run
from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.graph.tensors import Array
from tflsplit.package.reading import Package

log = logging.getLogger(__name__)


def check(package: Package, *, spool_full: str, spool_age_s: float | None, adapts: bool) -> None:
    """SettingsError where a package is stateful and what its edge does would tear the stream."""
    if not package.manifest.is_stateful:
        return
    if adapts:
        raise errors.SettingsError(
            f"{package.path}: it is stateful, and what head and tail keep belongs to a cut: leave --adapt out"
        )
    if spool_age_s or spool_full == "drop-oldest":
        option = "--spool-age" if spool_age_s else "--spool-full drop-oldest"
        raise errors.SettingsError(
            f"{package.path}: it is stateful, and with {option} frames behind a dropped one would have no result: "
            "leave it out, or take --spool-full drop-newest"
        )


class Stream:
    """An observer of the edge. All but `settled` is for the compute thread. Where the package is not stateful each
    frame is alone. SettingsError for a package that does not go with what the edge does (`check`)."""

    def __init__(self, package: Package, run: Run, *, adapts: bool) -> None:
        self._summary = run.summary
        self._boot = run.settings.boot
        self._limits = None if run.spool is None else run.spool.limits
        self._adapts = adapts
        self._is_stateful = package.manifest.is_stateful
        self._state: bytes | None = None
        self._left: bytes | None = None
        self._first: int | None = None
        self._last: int | None = None
        self._is_broken = False
        self.check(package)

    def check(self, package: Package) -> None:
        full, age_s = ("", None) if self._limits is None else (self._limits.full.value, self._limits.age_s)
        check(package, spool_full=full, spool_age_s=age_s, adapts=self._adapts)

    def follow(self, package: Package) -> None:
        """Another head, perhaps of another package, goes on; what the one before kept is not its."""
        self._restart()
        self._is_stateful = package.manifest.is_stateful

    def run(self, head: Head, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        if not self._is_stateful:
            return head.run(arrays)
        if self._is_broken:
            self._restart()
        outputs, self._left = head.step(arrays, self._state)
        return outputs

    def follows(self, sequence: int) -> int | None:
        """Which frame the one that was just run follows."""
        if not self._is_stateful:
            return None
        return sequence if self._last is None else self._last

    def accepted(self, sequence: int) -> None:
        """The frame that was just run is in the stream, unless another began while it was taken."""
        if self._left is None:
            return
        self._state, self._last = self._left, sequence
        self._first = sequence if self._first is None else self._first

    def alive(self) -> None:
        pass

    def answered(self, own: OwnAnswer) -> None:
        pass

    def settled(self, settled: Settled) -> None:
        first = self._first
        is_of_this = settled.boot == self._boot and first is not None and settled.sequence >= first
        if self._is_stateful and is_of_this and refusal_of(settled.answer) is not None:
            self._is_broken = True

    def _restart(self) -> None:
        if self._is_stateful and self._last is not None:
            self._summary.restarts += 1
            log.warning("stream begins anew after_sequence=%d restarts=%d", self._last, self._summary.restarts)
        self._state = self._left = self._first = self._last = None
        self._is_broken = False
