"""Frames that a cloud refused because it does not serve their package or cut: another cloud may answer them yet.

Such a refusal counts only when no result has come shortly after it, and no cloud has announced that package.
"""

import math

from edge_runtime.delivery.framing import Packed
from edge_runtime.delivery.run import Run
from edge_runtime.delivery.window import Outstanding

# Clouds that get the same frame at the same time answer within so long of each other.
_PATIENCE_S = 1.0


class Refusals:
    """Of the frames in a run's window."""

    def __init__(self, run: Run) -> None:
        self._window, self._clouds = run.window, run.clouds
        self._unserved: set[tuple[str, str]] = set()

    def __bool__(self) -> bool:
        """Whether there are packages that nobody serves."""
        return bool(self._unserved)

    def cover(self, packed: Packed) -> bool:
        """Whether frames like this one were refused for good."""
        return (packed.package, packed.cut) in self._unserved

    def final(self, now_s: float, life_s: float = math.inf) -> list[Outstanding]:
        """Frames whose refusal counts; they are removed from the window. Where a frame is given up after `life_s`, its
        refusal counts before that: else each would hold up others until then, and nobody would learn why."""
        found = []
        for sent in self._window.refused():
            patience_s = 0.0 if self.cover(sent.packed) else min(_PATIENCE_S, life_s / 2)
            if now_s - sent.refused_at_s >= patience_s and not self._clouds.serve(sent.packed.package):
                found.append(sent)
        self._unserved.update((sent.packed.package, sent.packed.cut) for sent in found)
        self._window.forget(sent.packed.key for sent in found)
        return found

    def answered(self, packed: Packed) -> None:
        """There is a cloud for frames like this one."""
        self._unserved.discard((packed.package, packed.cut))

    def forget(self) -> None:
        """Another cloud has come: all are to be tried again."""
        self._unserved.clear()
