"""The head that the next frame goes through, and its exchange for another between two frames."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from edge_runtime.delivery import framing
from edge_runtime.delivery.framing import Sending
from edge_runtime.delivery.settings import Settings
from edge_runtime.head import Head
from edge_runtime.sources.frames import Source
from tflsplit import errors
from tflsplit.coding import input_codec
from tflsplit.graph.tensors import Array
from tflsplit.inputs.preprocessing import PixelTable, Preprocessing
from tflsplit.inputs.samples import Convert
from tflsplit.package import outputs
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass, field

# How often who waits for an exchange looks whether the run has ended; no frame waits for it.
_LOOK_S = 0.2


@dataclass(slots=True)
class _Wanted:
    """Another package and head, for the compute thread to take over between two frames."""

    sending: Sending
    head: Head
    convert: Convert | None
    is_done: threading.Event = field(default_factory=threading.Event)


class HeadInUse:
    """`sending` and `head` are what the next frame goes through, `source` what it comes from once an edge runs, and
    `thread` the one that computes. `on_change` is told of each other package and head, on that thread; `check` refuses
    a package before."""

    def __init__(
        self,
        package: Package,
        head: Head,
        settings: Settings,
        on_change: Callable[[Package, Head], None],
        check: Callable[[Package], None],
    ) -> None:
        framing.check_mask(package, is_wanted=settings.wants_mask)
        self.sending = framing.of(package, head.cut, *settings.form)
        self.head = head
        self.source: Source | None = None
        self.thread: threading.Thread | None = None
        self._form = settings.form
        self._wants_mask = settings.wants_mask
        self._on_change = on_change
        self._check = check
        self._table: tuple[Preprocessing, PixelTable] | None = None
        self._wanted: _Wanted | None = None
        self._exchanging = threading.Lock()

    def exchange(self, package: Package, head: Head) -> tuple[Package, Head]:
        """From any thread: the next frames go through that head. Blocks until the current frame is done; returns what
        was used before. SettingsError or DataError if the source does not fit the package."""
        wanted = self._fitted(package, head)
        with self._exchanging:
            before = self.sending.package, self.head
            if self.thread in (None, threading.current_thread()):
                self._take_over(wanted)
                return before
            self._wanted = wanted
            while not wanted.is_done.wait(_LOOK_S):
                if self.thread is None:  # the run ended before it saw us
                    self._take_over(wanted)
            return before

    def inputs(self, raw: Any) -> tuple[Array, ...]:
        """Of a capture of the source: the model's, or pixels where these are sent. Only for an edge that may send
        either does a source give pixels that are not."""
        if self.source is None:
            raise errors.SettingsError("no source is open")
        arrays = self.source.convert(raw)
        if not self.source.gives_pixels or self.sending.pixels is not None:
            return arrays
        spec, preprocessing = input_codec.picture_input(self.sending.package.manifest)
        if self._table is None or self._table[0] is not preprocessing:
            self._table = preprocessing, PixelTable(preprocessing, spec)
        return (self._table[1].apply(arrays[0]).reshape(spec.shape),)

    def sizes(self, captures: Sequence[Any]) -> tuple[tuple[int, int], ...]:
        """Of the pictures that were captured, where places in an answer cannot be told without; else none."""
        if self.source is None or not outputs.needs_sizes(self.sending.package.manifest):
            return ()
        found = [size for raw in captures if (size := self.source.size_of(raw)) is not None]
        return tuple(found) if len(found) == len(captures) else ()

    def look(self) -> None:
        """On the compute thread, between two frames: does what `exchange` waits for."""
        if self._wanted is not None:
            self._take_over(self._wanted)

    def take(self, package: Package, head: Head) -> None:
        """On the compute thread: the current frame already goes through that head."""
        self._take_over(self._fitted(package, head))

    def _fitted(self, package: Package, head: Head) -> _Wanted:
        self._check(package)
        framing.check_mask(package, is_wanted=self._wants_mask)
        convert = None if self.source is None else self.source.fitted(package, self.sending.package)
        return _Wanted(framing.of(package, head.cut, *self._form), head, convert)

    def _take_over(self, wanted: _Wanted) -> None:
        if self._wanted is wanted:
            self._wanted = None
        self.sending, self.head = wanted.sending, wanted.head
        if self.source is not None and wanted.convert is not None:
            self.source.convert = wanted.convert
        self._on_change(wanted.sending.package, wanted.head)
        wanted.is_done.set()
