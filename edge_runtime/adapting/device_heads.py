"""The heads of candidates on an accelerator, which as a rule holds one at a time: a move there loads another one.

Make before break: what is in use serves until the next head is open. Whether the device takes two is found out at the
first move. Where it does not, the old head goes first; meanwhile the CPU runs the next one if it may, else frames wait,
which is counted.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from edge_runtime.head import Head
from tflsplit import errors
from tflsplit.values.classes import dataclass

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Reloads:
    """`moves` are heads that the device loaded in place of others, `waits` those that a frame waited for, `waited_s`
    seconds in all, `failures` heads that it did not take."""

    moves: int = 0
    waits: int = 0
    waited_s: float = 0.0
    failures: int = 0


class _Opening:
    """A head that is being opened on a thread of its own, once `old` is closed."""

    def __init__(self, cut: str, opens: Callable[[str], Head], old: Head | None) -> None:
        self.cut = cut
        self.head: Head | None = None
        self.failure: errors.TflsplitError | None = None
        self._opens = opens
        self._old = old
        self._began_s = time.monotonic()
        self._done = threading.Event()
        threading.Thread(target=self._run, name=f"open-{cut}", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self) -> None:
        self._done.wait()

    def _run(self) -> None:
        try:
            if self._old is not None:
                self._old.close()
            self.head = self._opens(self.cut)
            log.info("head opened cut=%s load_s=%.3f", self.cut, time.monotonic() - self._began_s)
        except errors.TflsplitError as refused:
            self.failure = refused
        finally:
            self._done.set()


class DeviceHeads:
    """`opens` opens a head on the device: DeviceError where that does not take it, or a head that runs elsewhere until
    it does. `spares` are heads on the CPU, open in any case, which run while the device loads. For the compute thread.
    """

    def __init__(self, start: str, opens: Callable[[str], Head], spares: Mapping[str, Head]) -> None:
        self.reloads = Reloads()
        self.holds_one = False  # until it refuses a second one
        self._opens = opens
        self._spares = spares
        self._cut, self._head = start, opens(start)
        self._is_there = True  # whether the head is open
        self._opening: _Opening | None = None

    def in_use(self, cut: str) -> Head:
        """The head of the cut that was moved to last: the device's, or a spare one until the device has loaded it."""
        if cut == self._cut and self._is_there:
            return self._head
        head = self.take(cut)
        assert head is not None, "the device had it, or has no other"  # noqa: S101 - by what `take` does
        return head

    def take(self, cut: str) -> Head | None:
        """The head of `cut`; None while it is loaded and the one in use goes on. CutError where the device does not
        take it, and has the one before again; DeviceError where it does not take that either."""
        self._look(cut)
        while cut != self._cut or not self._is_there:
            if self._opening is None:
                self._begin(cut)
            if not self.holds_one:
                return None
            if cut in self._spares:
                return self._spares[cut]
            self._wait(cut)
        return self._head

    def close(self) -> None:
        if self._opening is not None:
            self._opening.wait()
            if self._opening.head is not None:
                self._opening.head.close()
        self._head.close()

    def _begin(self, cut: str) -> None:
        self._opening = _Opening(cut, self._opens, self._head if self.holds_one else None)
        self._is_there = not self.holds_one

    def _look(self, wanted: str) -> None:
        """Takes over what was opened; what is not wanted any more only where the device holds nothing else."""
        opening = self._opening
        if opening is None or not opening.is_done:
            return
        self._opening, opened = None, opening.head
        runs_elsewhere = opened is not None and opened.condition.runs_on != opened.condition.accelerator
        if not self.holds_one and (opened is None or runs_elsewhere):
            self.holds_one = True
            reason = opening.failure or (opened and opened.condition.reason)
            log.info("the device takes one head at a time cut=%s reason=%s", opening.cut, reason)
            if opened is not None:
                _close_aside(opened)
        elif opened is None:
            self.reloads.failures += 1
            self._head, self._is_there = self._opens(self._cut), True
            raise errors.CutError(f"{opening.cut}: {opening.failure}") from opening.failure
        elif self._is_there and opening.cut != wanted:
            _close_aside(opened)
        else:
            if self._is_there:
                _close_aside(self._head)
            self._cut, self._head, self._is_there = opening.cut, opened, True
            self.reloads.moves += 1

    def _wait(self, cut: str) -> None:
        """A frame waits: the device has no head, and nothing else may run."""
        began_s = time.monotonic()
        if self._opening is not None:
            self._opening.wait()
        try:
            self._look(cut)
        finally:
            self.reloads.waits += 1
            self.reloads.waited_s += time.monotonic() - began_s
            log.info("a frame waited for its head cut=%s waited_s=%.3f", cut, time.monotonic() - began_s)


def _close_aside(head: Head) -> None:
    """On a thread of its own: a device may take as long as it likes, and no frame waits for it."""
    threading.Thread(target=head.close, name=f"close-{head.cut.id}", daemon=True).start()
