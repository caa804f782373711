"""The tails of one package, as segments of its model between the cuts that are served: the weights are held once, and
each tail is the rest of the chain. A frame of a new cut splits the segment in which its cut lies.

Float tails, and those in a bundle without the whole model, cannot be split: each of these holds its own weights.
"""

import contextlib
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import attrgetter

import numpy as np

from broker.cloud import batching, mapped_files
from broker.cloud.mapped_files import TailFiles
from broker.messages import wire
from tflsplit import arguments, errors
from tflsplit.coding import input_codec
from tflsplit.graph.cuts import Cut
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array, TensorSpec
from tflsplit.inputs.preprocessing import PixelTable
from tflsplit.package import reading, verify
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, replace

# How many tails of a package stay open: edges that move their cut have up to nine candidates in the models tried.
KEPT = 16


class Tails:
    """Serves any frame of `package`. One thread at a time.

    With `files`, models are mapped from files that processes share, otherwise read into memory. With `wants_batches`,
    each is measured when it is opened, to find out whether batches are quicker.
    """

    def __init__(
        self, package: Package, *, threads: int = 1, files: TailFiles | None = None, wants_batches: bool = False
    ) -> None:
        self.package = arguments.instance(package, Package, "package")
        self._files = files
        self._wants_batches = wants_batches
        self._threads = threads
        self.package_digest = package.digest
        self.digest = bytes.fromhex(self.package_digest)[: wire.PACKAGE_BYTES]
        self._cuts = {cut.position: cut for cut in package.cuts}
        self._boundaries = {cut.position: _unnamed(cut.boundary) for cut in package.cuts}
        self._pixels: tuple[TensorSpec, ...] | None = None
        self._table: PixelTable | None = None
        with contextlib.suppress(errors.DataError):  # raised for a package that takes no pictures
            spec, preprocessing = input_codec.picture_input(package.manifest)
            self._pixels = _unnamed((input_codec.pixels_of(spec),))
            self._table = PixelTable(preprocessing, spec)
        is_one_model = package.manifest.float_tails is None and reading.MODEL in package.manifest.files
        self._opened: _Segments | _Separate = (_Segments if is_one_model else _Separate)(self._load)
        self._used: OrderedDict[int, None] = OrderedDict()  # positions of the open cuts, the last used one last

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
        if (frame.follows is not None) != self.package.manifest.is_stateful:
            alone, kind = ("alone", "stateful") if frame.follows is None else ("of a stream", "not stateful")
            raise errors.FrameError(f"frame {alone}, package {self.package.manifest.name} is {kind}")
        if frame.cut in self._used:
            return cut
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
        """The outputs that `Manifest.results` describes. The first frame of a cut opens its tail."""
        return self.run_all(cut, [boundary])[0]

    def step(self, cut: Cut, state: bytes | None, boundary: tuple[Array, ...]) -> tuple[tuple[Array, ...], bytes]:
        """`run` from what the frames before in a stream have left (None: from the beginning), and what is left then."""
        self.open(cut)
        arrays, left, offset = boundary, [], 0
        for each in self._opened.since(cut.position):
            before = None if state is None else state[offset : offset + each.one.state_bytes]
            offset += each.one.state_bytes
            arrays, after = each.one.step(before, *arrays)
            left.append(after)
        return arrays, b"".join(left)

    def run_all(self, cut: Cut, boundaries: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        """`run` for several frames of one cut, in batches where that is quicker."""
        self.open(cut)
        arrays = list(boundaries)
        for each in self._opened.since(cut.position):
            arrays = each.run_all(arrays)
        return arrays

    def batches_from(self, position: int) -> int:
        """From how many frames of that cut a batch is quicker than single runs; 0 if never, or not open yet."""
        if position not in self._used:
            return 0
        return batching.fewest([each.batch for each in self._opened.since(position)])

    def open(self, cut: Cut) -> None:
        """Opens a cut's tail, as before its first frame; over `KEPT` of them, that used longest ago is left out."""
        if cut.position not in self._used:
            self._opened.add(cut)
            if len(self._used) >= KEPT:
                self._opened.drop(self._used.popitem(last=False)[0])
        self._used[cut.position] = None
        self._used.move_to_end(cut.position)

    def close(self) -> None:
        self._opened.close()
        self._used.clear()

    def _load(self, start: Cut, stop: Cut | None) -> "_Loaded":
        """The model from `start` to `stop`, None for the end, after a run with zeros: the first run takes longer."""
        name = f"{self.package.path}: " + (f"{start.id} to {stop.id}" if stop else f"tail of {start.id}")
        source = (self._files.path if self._files else mapped_files.sliced)(self.package, start, stop)
        opened = Interpreter(source, threads=self._threads, name=name)
        verify.check_boundary(self.package, start, "tail's inputs", opened.inputs)
        opened.run(*(np.zeros(spec.shape, spec.dtype) for spec in opened.inputs))
        if not self._wants_batches or self.package.manifest.is_stateful:
            return _Loaded(opened)
        return _Loaded(opened, batching.measured(source, opened, threads=self._threads, name=name))


@dataclass(frozen=True, slots=True)
class _Loaded:
    one: Interpreter
    batch: batching.Batch | None = None

    def run_all(self, frames: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
        outputs = list[tuple[Array, ...]]()
        while len(outputs) < len(frames):
            together = frames[len(outputs) : len(outputs) + batching.SIZE]
            if self.batch is None or len(together) < self.batch.fewest:
                outputs += [self.one.run(*frame) for frame in together]
            else:
                outputs += self.batch.run(together)
        return outputs

    def close(self) -> None:
        self.one.close()
        if self.batch is not None:
            self.batch.interpreter.close()


# Opens the model from one cut to another one, None for the end.
_Load = Callable[[Cut, Cut | None], _Loaded]


class _Segments:
    """One behind the other, from the first open cut to the end; each from a cut to the next one."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._cuts: list[Cut] = []
        self._loaded: list[_Loaded] = []

    def since(self, position: int) -> Sequence[_Loaded]:
        return self._loaded[self._place(position) :]

    def add(self, cut: Cut) -> None:
        place = self._place(cut.position)
        with contextlib.ExitStack() as undone:
            made = []
            behind = [*self._cuts[place:], None][0]
            for start, stop in (*((before, cut) for before in self._cuts[:place][-1:]), (cut, behind)):
                made.append(self._load(start, stop))
                undone.callback(made[-1].close)
            undone.pop_all()
        self._replace(slice(max(0, place - 1), place), made)
        self._cuts.insert(place, cut)

    def drop(self, position: int) -> None:
        place = self._place(position)
        behind = [*self._cuts[place + 1 :], None][0]
        joined = [self._load(before, behind) for before in self._cuts[:place][-1:]]
        self._replace(slice(max(0, place - 1), place + 1), joined)
        del self._cuts[place]

    def close(self) -> None:
        self._replace(slice(None), [])
        self._cuts.clear()

    def _replace(self, which: slice, by: Sequence[_Loaded]) -> None:
        old, self._loaded[which] = self._loaded[which], by
        for each in old:
            each.close()

    def _place(self, position: int) -> int:
        return bisect_left(self._cuts, position, key=attrgetter("position"))


class _Separate:
    """Each from its cut to the end, with its own weights."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._loaded: dict[int, _Loaded] = {}

    def since(self, position: int) -> Sequence[_Loaded]:
        return (self._loaded[position],)

    def add(self, cut: Cut) -> None:
        self._loaded[cut.position] = self._load(cut, None)

    def drop(self, position: int) -> None:
        self._loaded.pop(position).close()

    def close(self) -> None:
        while self._loaded:
            self._loaded.popitem()[1].close()


def _unnamed(boundary: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Names do not travel in frames."""
    return tuple(replace(spec, name="") for spec in boundary)
