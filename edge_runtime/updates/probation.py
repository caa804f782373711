"""Whether the first frames of a new model succeed. The edge's threads report to it, the updater's thread reads it."""

import threading

from edge_runtime.delivery.observer import Settled, refusal_of
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Terms:
    """A model is kept after `frames` good answers. It is rolled back when its frames have no answer for `patience_s`
    while the broker can be reached."""

    frames: int = 20
    patience_s: float = 120.0


DEFAULT_TERMS = Terms()


class Probation:
    """Watches one cut of a package, or all where that is None; `package` is the package's digest."""

    def __init__(self, package: str, cut: str | None, terms: Terms, now_s: float) -> None:
        self._package = package
        self._cut = cut
        self._terms = terms
        self._good = 0
        self._problem: str | None = None
        self._waited_s = 0.0
        self._looked_at_s = now_s
        self._changing = threading.Lock()

    def settled(self, settled: Settled) -> None:
        if self._cut not in (None, settled.cut) or not self._package.startswith(settled.package):
            return  # a frame of the previous model
        refusal = refusal_of(settled.answer)
        with self._changing:
            self._waited_s = 0.0
            if refusal is None:
                self._good += 1
        if refusal is not None:
            self.failed(f"a frame was refused: {refusal}")

    def failed(self, reason: str) -> None:
        """Keeps the first reason only."""
        with self._changing:
            self._problem = self._problem or reason

    def look(self, now_s: float, *, is_waiting: bool) -> None:
        """To be called regularly. `is_waiting`: frames are unanswered although the broker can be reached."""
        with self._changing:
            if is_waiting:
                self._waited_s += now_s - self._looked_at_s
            self._looked_at_s = now_s
            if self._waited_s >= self._terms.patience_s and self._problem is None:
                patience_s = self._terms.patience_s
                self._problem = f"frames had no answer for {patience_s:g} s; is there a cloud for this model?"

    @property
    def problem(self) -> str | None:
        return self._problem

    @property
    def is_passed(self) -> bool:
        return self._problem is None and self._good >= self._terms.frames
