"""Replaces the head that serves by a new one, and keeps the old one open until the new one is kept or rolled back.

On the CPU both heads are open at a time. An accelerator takes one head at a time: there the old head moves to the CPU,
where it serves frames until the new one is open, and again after a roll-back.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from edge_runtime import head
from edge_runtime.accelerators.protocol import Accelerator
from edge_runtime.accelerators.service import Condition
from edge_runtime.head import Head
from edge_runtime.updates import self_test
from tflsplit import errors
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)


class Exchanging(Protocol):
    """The part of `edge_runtime.loop.Edge` that is used here."""

    @property
    def condition(self) -> Condition: ...

    def exchange(self, package: Package, head: Head) -> tuple[Package, Head]: ...


class Opener(Protocol):
    """How this device opens heads: as configured, never as a message says."""

    @property
    def moves(self) -> bool:
        """Whether the edge changes its cut by itself."""

    @property
    def resolve(self) -> Callable[[Package, Cut], Accelerator]:
        """What runs that head."""

    def open(self, package: Package, cut: Cut) -> Head: ...

    def open_plain(self, package: Package, cut: Cut) -> Head:
        """On the CPU, whatever is configured."""

    def close(self, head: Head) -> None: ...


@dataclass(frozen=True, slots=True)
class Opening:
    """An `Opener` of heads whose cut stays."""

    resolve: Callable[[Package, Cut], Accelerator]
    fallback: Accelerator | None = None
    moves: bool = False

    def open(self, package: Package, cut: Cut) -> Head:
        return Head(package, cut, accelerator=self.resolve(package, cut), fallback=self.fallback)

    def open_plain(self, package: Package, cut: Cut) -> Head:
        return Head(package, cut)

    def close(self, head: Head) -> None:
        head.close()


@dataclass(frozen=True, slots=True)
class Model:
    package: Package
    head: Head


class Swap:
    """`serving` is what the edge runs at the start. For one thread, except `fall_back`: the compute thread calls it."""

    def __init__(self, edge: Exchanging, opening: Opener, serving: Model) -> None:
        self._edge = edge
        self._opening = opening
        self._serving = serving
        self._new: Model | None = None
        self._has_fallen = False
        self._is_bridged = False
        self._deciding = threading.Lock()

    @property
    def moves(self) -> bool:
        """Whether the cut of what serves is the edge's own choice."""
        return self._opening.moves

    def prepare(self, package: Package, cut: Cut) -> tuple[Model, str]:
        """Opens the new model while the old one serves; returns it, and the result of its self-test on the accelerator.

        PackageError, DeviceError or SettingsError if it cannot be opened; then nothing has changed.
        """
        old = self._serving
        accelerator = self._opening.resolve(package, cut)
        runs_on = self._edge.condition.runs_on
        self._has_fallen = False
        self._is_bridged = accelerator.is_external or self._opening.resolve(old.package, old.head.cut).is_external
        if self._is_bridged:
            self._serve_instead(Model(old.package, self._opening.open_plain(old.package, old.head.cut)))
        try:
            is_there = accelerator.is_external and runs_on in (accelerator.name, None)
            shown = _test_on(accelerator, package, cut) if is_there else ""
            return Model(package, self._opening.open(package, cut)), shown
        except errors.TflsplitError:
            self._leave_bridge()
            raise

    def serve(self, new: Model) -> None:
        """Frames go through the new model from now on. SettingsError or DataError if the source does not fit it; then
        the old one serves on."""
        self._new = new
        try:
            self._edge.exchange(new.package, new.head)
        except errors.TflsplitError:
            self._new = None
            self._opening.close(new.head)
            self._leave_bridge()
            raise

    def keep(self) -> bool:
        """Closes the old model, so that there is no way back; False if `fall_back` was called before."""
        with self._deciding:
            if self._has_fallen:
                return False
            old, new = self._serving, self._new
            if new is not None:
                self._serving, self._new = new, None
        if new is not None:
            self._opening.close(old.head)
        return True

    def fall_back(self) -> Model | None:
        """The old model, for the current frame when the new head failed; None if no old model is open."""
        with self._deciding:
            if self._new is None:
                return None
            self._has_fallen = True
            return self._serving

    def go_back(self, before: Callable[[], tuple[Package, Cut]]) -> None:
        """Frames go through the old model again; `before` finds it if only the new one is open since a restart."""
        with self._deciding:
            self._has_fallen = True
        new = self._new
        if new is None:
            new, self._is_bridged = self._serving, True
            package, cut = before()
            self._serving = Model(package, self._opening.open_plain(package, cut))
        self._edge.exchange(self._serving.package, self._serving.head)
        self._new = None
        self._opening.close(new.head)
        self._leave_bridge()

    def close(self) -> None:
        for model in (self._serving, self._new):
            if model is not None:
                self._opening.close(model.head)

    def _serve_instead(self, model: Model) -> None:
        self._edge.exchange(model.package, model.head)
        old, self._serving = self._serving, model
        self._opening.close(old.head)

    def _leave_bridge(self) -> None:
        """Moves the old model back to its accelerator. If that fails it stays on the CPU, and the birth says so."""
        if not self._is_bridged:
            return
        self._is_bridged = False
        package, cut = self._serving.package, self._serving.head.cut
        try:
            self._serve_instead(Model(package, self._opening.open(package, cut)))
        except errors.TflsplitError as refused:
            log.error("head stays on the CPU until the next start cut=%s reason=%s", cut.id, refused)


def _test_on(accelerator: Accelerator, package: Package, cut: Cut) -> str:
    with contextlib.closing(head.open_on(accelerator, package, cut)) as opened:
        shown = self_test.check(lambda given: opened.run(*given), package, cut, is_cpu=False)
    return f"; on {accelerator.name}: {shown}"
