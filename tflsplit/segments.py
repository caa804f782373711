"""A model as a chain of small models between its candidate cuts: every head and every tail is open at once, and the
weights are held once. Moving the cut is running one segment more or less.

Measured with MobileNetV2 and its seven useful cuts: 72 MB and 1.71 ms, where the whole model alone takes 69 MB and
1.56 ms, and a head for each cut takes weights again.
"""

import threading
from collections.abc import Iterable

import numpy as np

from tflsplit import errors
from tflsplit.graph import cuts as graph_cuts
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.package.reading import Package
from tflsplit.values.classes import replace


class Segments:
    """The model of a package, from the first of `cuts` to the last one, in int8; a context manager. Any thread may run
    it: a segment serves one at a time, so that two frames may be in two segments. It takes up to `batch` inputs at
    once, as rows; fewer are filled up with the last one.

    PackageError in a bundle, which holds no whole model to slice, DeviceError where it does not take so many inputs.
    """

    def __init__(self, package: Package, cuts: Iterable[Cut], *, threads: int = 1, batch: int = 1) -> None:
        self._batch = batch
        self._places = sorted(set(cuts), key=lambda cut: cut.position)
        self._opened: list[Interpreter] = []
        self._turns: list[threading.Lock] = []
        for start, stop in zip(self._places, self._places[1:], strict=False):
            name = f"{package.path}: {start.id} to {stop.id}"
            data = graph_cuts.middle_bytes(package.graph, start, stop)
            try:
                self._opened.append(Interpreter(data, threads=threads, name=name, batch=batch))
            except errors.TflsplitError:
                self.close()
                raise
            self._turns.append(threading.Lock())

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """In the order of the model."""
        return tuple(self._places)

    def run(self, arrays: tuple[Array, ...], start: Cut, stop: Cut) -> tuple[Array, ...]:
        """The boundary of `stop` from that of `start`, which comes before it; both are among `cuts`."""
        first, last = self._index(start), self._index(stop)
        if first > last:
            raise errors.CutError(f"{start.id} comes after {stop.id}: nothing runs backwards")
        count = len(arrays[0]) if self._batch > 1 else 1
        if count < self._batch:
            arrays = filled(arrays, self._batch)
        for segment, turn in zip(self._opened[first:last], self._turns[first:last], strict=True):
            with turn:
                arrays = segment.run(*arrays)
        return tuple(array[:count] for array in arrays) if count < self._batch else arrays

    def outputs(self, cut: Cut) -> tuple[TensorSpec, ...]:
        """What the segment that ends at `cut` says that it gives of one input; for the first cut its boundary."""
        place = self._index(cut)
        if place == 0:
            return cut.boundary
        given = self._opened[place - 1].outputs
        return given if self._batch == 1 else tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in given)

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def __enter__(self) -> "Segments":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _index(self, cut: Cut) -> int:
        for place, known in enumerate(self._places):
            if known.position == cut.position:
                return place
        ids = ", ".join(known.id for known in self._places)
        raise errors.CutError(f"cut {cut.id} is none of the candidates ({ids})")


def filled(arrays: tuple[Array, ...], batch: int) -> tuple[Array, ...]:
    """With the last row again until they have so many."""
    return tuple(np.concatenate((each, np.repeat(each[-1:], batch - len(each), 0))) for each in arrays)
