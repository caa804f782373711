"""Tails that are opened before their first frames come."""

from collections import OrderedDict
from collections.abc import Callable

from broker.cloud import tail
from broker.cloud.engine import Engine
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package


class Ahead:
    """Tails to open before their first frames come, one at a time and while no frame waits. `tell` is called, on any
    thread, when one is open for every frame, and when it has to make room."""

    def __init__(self, engine: Engine, tell: Callable[[Package, Cut, bool], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._named: dict[str, OrderedDict[Cut, None]] = {}  # by package, the last one named last
        self._wanted: list[tuple[Package, Cut]] = []

    def __len__(self) -> int:
        return len(self._wanted)

    def want(self, package: Package, cut: Cut) -> None:
        """A device may come to that cut. As many of a package are wanted as stay open."""
        named = self._named.setdefault(package.digest, OrderedDict())
        if cut not in named:
            self._wanted.append((package, cut))
            if len(named) >= tail.KEPT:
                self._tell(package, named.popitem(last=False)[0], False)
        named[cut] = None
        named.move_to_end(cut)

    def open_next(self) -> None:
        if self._wanted:
            # From the end on, no segment has to be split that was opened just before.
            package, cut = max(self._wanted, key=lambda wanted: wanted[1].position)
            self._wanted.remove((package, cut))
            self._engine.open(package, cut, lambda: self._opened(package, cut))

    def _opened(self, package: Package, cut: Cut) -> None:
        if cut in self._named[package.digest]:
            self._tell(package, cut, True)
