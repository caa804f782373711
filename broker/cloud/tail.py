"""The tails of one package: the tail of a frame's cut is sliced and loaded at its first frame, and run."""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from broker.cloud import batching
from broker.cloud.mapped_files import TailFiles
from broker.messages import wire
from tflsplit import arguments, errors
from tflsplit.coding import input_codec
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.inputs.preprocessing import PixelTable
from tflsplit.package import verify
from tflsplit.package.reading import Package

# How many tails stay loaded: edges that move their cut have up to nine candidates in the models tried, and those of
# two packages, the old and the new, each their own.
KEPT = 16


class Tails:
    """Serves any frame of `package`. One thread at a time.

    With `files`, tails are mapped from files that processes share, otherwise read into memory. With `wants_batches`,
    each tail is measured when it is loaded, to find out whether batches are quicker.
    """

    def __init__(
        self, package: Package, *, threads: int = 1, files: TailFiles | None = None, wants_batches: bool = False
    ) -> None:
        self.package = arguments.instance(package, Package, "package")
        self._files = files
        self._wants_batches = wants_batches
        self._threads = threads
        self.package_digest = package.digest  # `Package.digest` computes it from the manifest at each access
        self.digest = bytes.fromhex(self.package_digest)[: wire.PACKAGE_BYTES]
        self._cuts = {cut.position: cut for cut in package.cuts}
        self._boundaries = {cut.position: _unnamed(cut.boundary) for cut in package.cuts}
        self._pixels: tuple[TensorSpec, ...] | None = None
        self._table: PixelTable | None = None
        with contextlib.suppress(errors.DataError):  # raised for a package that takes no pictures
            spec, preprocessing = input_codec.picture_input(package.manifest)
            self._pixels = _unnamed((input_codec.pixels_of(spec),))
            self._table = PixelTable(preprocessing, spec)
        self._loaded: OrderedDict[int, _Loaded] = OrderedDict()

    def cut_of(self, frame: wire.Frame) -> Cut:
        """The cut of a frame of this package. FrameError if the frame's boundary is another, or there is no tail."""
        cut = self._cuts.get(frame.cut)
        if cut is None:
            raise errors.FrameError(f"frame cut after {frame.cut} operators, where this package has no cut")
        expected = self._boundaries[frame.cut] if frame.pixels is None else self._pixels
        if expected is None:
            raise errors.FrameError(f"frame of pixels, package {self.package.manifest.name} takes no pictures")
        if frame.boundary != expected:
            raise errors.FrameError(f"frame at cut {cut.id} carries {frame.boundary}, expected {expected}")
        try:
            self.package.check_has_tail(cut)
        except errors.CutError as problem:
            raise errors.FrameError(str(problem)) from problem
        if not self.package.has(cut, "tail"):
            raise errors.FrameError(f"frame cut at {cut.id}, whose tail is not in this cloud's bundle")
        return cut

    def preprocess(self, frame: wire.Frame, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """The tail's inputs: the arrays of a frame that `cut_of` accepted, with pixels preprocessed."""
        if frame.pixels is None or self._table is None:
            return arrays
        spec = self.package.manifest.inputs[0]
        return (self._table.apply(arrays[0]).reshape(spec.shape),)

    def run(self, cut: Cut, boundary: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs that `Manifest.results` describes. The first frame of a cut loads its tail."""
        return self._open(cut).one.run(*boundary)

    def run_all(self, cut: Cut, boundaries: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """`run` for several frames of one cut, in batches if that is quicker."""
        loaded, outputs = self._open(cut), list[tuple[Array, ...]]()
        while len(outputs) < len(boundaries):
            together = boundaries[len(outputs) : len(outputs) + batching.SIZE]
            if loaded.batch is None or len(together) < loaded.batch.fewest:
                outputs += [loaded.one.run(*boundary) for boundary in together]
            else:
                outputs += loaded.batch.run(together)
        return outputs

    def batches_from(self, position: int) -> int:
        """From how many frames of that cut a batch is quicker than single runs; 0 if never, or not loaded yet."""
        loaded = self._loaded.get(position)
        return 0 if loaded is None or loaded.batch is None else loaded.batch.fewest

    def warm(self, cut: Cut) -> None:
        """Loads a cut's tail before its first frame comes, and runs it once: the first run takes longer than others."""
        tail = self._open(cut).one
        tail.run(*(np.zeros(spec.shape, spec.dtype) for spec in tail.inputs))

    def close(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()

    def _open(self, cut: Cut) -> "_Loaded":
        if cut.position not in self._loaded:
            self._loaded[cut.position] = self._load(cut)
            if len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)[1].close()
        self._loaded.move_to_end(cut.position)
        return self._loaded[cut.position]

    def _load(self, cut: Cut) -> "_Loaded":
        source = self._files.path(self.package, cut) if self._files else self.package.tail_bytes(cut)
        name = f"{self.package.path}: tail of {cut.id}"
        tail = Interpreter(source, threads=self._threads, name=name)
        verify.check_boundary(self.package, cut, "tail's inputs", tail.inputs)
        if not self._wants_batches:
            return _Loaded(tail)
        return _Loaded(tail, batching.measured(source, tail, threads=self._threads, name=name))


@dataclass(frozen=True, slots=True)
class _Loaded:
    one: Interpreter
    batch: batching.Batch | None = None

    def close(self) -> None:
        self.one.close()
        if self.batch is not None:
            self.batch.interpreter.close()


def _unnamed(boundary: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Names do not travel in frames."""
    return tuple(replace(spec, name="") for spec in boundary)
