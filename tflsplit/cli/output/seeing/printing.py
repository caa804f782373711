"""Answers as they come: a line for each, or on a terminal, where there are too many to read, one line that counts them.

Plain text, so that an edge needs no library for it.
"""

import contextlib
import functools
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click

from broker.messages import results
from tflsplit import text
from tflsplit.cli.output import logs
from tflsplit.cli.output.seeing import lines

if TYPE_CHECKING:  # a cloud prints too
    from broker.cloud.answerer import Answer
    from edge_runtime.delivery.observer import OwnAnswer, Settled

_MOST_A_SECOND = 5  # that a person reads
_EVERY_S = 0.1  # the counter changes
_BAR = 20
_CLEARED = "\r\x1b[K"


class Answers:
    """An observer of an edge, and of a cloud; any thread may call it. `expected` is how many answers will come, None
    where that is not known."""

    def __init__(self, stream: TextIO, expected: int | None = None) -> None:
        self.expected = expected
        self._stream = stream
        self._counts = stream.isatty()
        self._came_s: deque[float] = deque(maxlen=4 * _MOST_A_SECOND)
        self._count = 0
        self._shown_s = 0.0
        self._line = ""
        self._late: threading.Timer | None = None
        self._writing = threading.RLock()

    def alive(self) -> None:
        """As an observer of an edge."""

    def settled(self, settled: "Settled") -> None:
        if settled.own_s is None:
            self._take(settled.answer, settled.sequence, settled.latency_s)

    def answered(self, *told: "OwnAnswer | str | Answer") -> None:
        """The edge's own answer, or the cloud's to a device."""
        if len(told) == 1:
            (own,) = told
            self._take(own.result, own.result.sequence, own.latency_s)  # type: ignore[union-attr]
            return
        device, answer = told
        for message in answer.results:  # type: ignore[union-attr]
            parsed = results.parse(message)
            self._take(parsed, parsed.sequence, None, device=str(device))

    def close(self) -> None:
        """Leaves the last count standing."""
        with self._writing:
            if self._late is not None:
                self._late.cancel()
            if self._line:
                self._show(self._line)
                self._stream.write("\n")
                self._stream.flush()
                self._line = ""

    def write_above(self, stream: TextIO, words: str) -> None:
        """Writes on another stream of the same terminal, where the counter stands."""
        with self._writing:
            if self._line:
                self._stream.write(_CLEARED)
                self._stream.flush()
            stream.write(words)
            stream.flush()
            if self._line and words.endswith("\n"):
                self._show(self._line)

    def _take(self, answer: object, sequence: int | None, latency_s: float | None, device: str = "") -> None:
        said = _said(answer)
        where = f"{device}, frame {sequence}:" if device else f"frame {sequence}:"
        took = "" if latency_s is None else f" ({latency_s * 1e3:.0f} ms)"
        with self._writing:
            now_s = time.monotonic()
            self._count += 1
            self._came_s.append(now_s)
            if not self._counts or self._rate(now_s) <= _MOST_A_SECOND:
                self._print(f"{time.strftime('%H:%M:%S')} {where} {said}{took}")
                return
            bar = self._bar()
            self._line = f"{bar}{self._rate(now_s):.0f}/s, last {where} {said}{took}"
            if now_s - self._shown_s >= _EVERY_S or self._count == self.expected:
                self._shown_s = now_s
                self._show(self._line)
            elif self._late is None:
                self._late = threading.Timer(_EVERY_S, self._catch_up)
                self._late.daemon = True
                self._late.start()

    def _catch_up(self) -> None:
        """After a burst, its last answer is shown too."""
        with self._writing:
            self._late = None
            if self._line:
                self._show(self._line)

    def _rate(self, now_s: float) -> float:
        """Of the last answers, a second; 0 while there are too few to tell."""
        first_s = self._came_s[0]
        return (len(self._came_s) - 1) / max(now_s - first_s, 1e-3) if len(self._came_s) > _MOST_A_SECOND else 0.0

    def _bar(self) -> str:
        if self.expected is None:
            return f"{text.counted(self._count, 'answer')}, "
        done = min(self._count, self.expected) * _BAR // max(self.expected, 1)
        return f"[{'#' * done}{'.' * (_BAR - done)}] {self._count:,} of {self.expected:,}, "

    def _print(self, words: str) -> None:
        before = _CLEARED if self._line else ""
        self._line = ""
        self._stream.write(f"{before}{text.printable(words)}\n")
        self._stream.flush()

    def _show(self, words: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        shown = text.printable(words)
        self._stream.write(_CLEARED + (shown if text.columns(shown) <= width else f"{shown[: width - 1]}…"))
        self._stream.flush()


class _Above:
    """A stream whose lines stand above the counter."""

    def __init__(self, stream: TextIO, printing: Answers) -> None:
        self._stream, self._printing = stream, printing

    def write(self, words: str) -> int:
        self._printing.write_above(self._stream, words)
        return len(words)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


@contextlib.contextmanager
def printing(wanted: bool | None, *, is_json: bool) -> Iterator[Answers | None]:
    """Prints answers until the end of the block; None where it is not wanted. By default it is, at a terminal, where no
    JSON is to be printed. Beside JSON, which has stdout for itself, answers go to stderr."""
    stream = sys.stderr if is_json else sys.stdout
    if not (stream.isatty() and not is_json if wanted is None else wanted):
        yield None
        return
    printed = Answers(stream)
    above: TextIO = _Above(sys.stderr, printed)  # type: ignore[assignment]  # all that a log needs
    try:
        with contextlib.redirect_stderr(above), logs.above_a_bar():
            yield printed
    finally:
        printed.close()


option = click.option(
    "--print/--no-print",
    "prints",
    default=None,
    help="Print a line for each answer; on a terminal, above 5 a second, one line that counts them and shows the last. "
    "Default: on a terminal.",
)


def observed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the option, and the argument `printed`: what prints answers while it runs, or None."""

    @functools.wraps(function)
    def command(*given: Any, prints: bool | None, is_json: bool, **others: Any) -> Any:
        with printing(prints, is_json=is_json) as printed:
            return function(*given, printed=printed, is_json=is_json, **others)

    return option(command)


def _said(answer: object) -> str:
    if isinstance(answer, results.Result):
        return lines.line([(each.label, each.score) for each in answer.top], answer.values, answer.found)
    if isinstance(answer, results.Refusal):
        return f"refused: {answer.error}"
    return "taken"  # an acknowledgement says no more
