"""What commands print: JSON or tables on stdout, progress on stderr."""

import importlib.util
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from tflsplit import text
from tflsplit.cli.output import logs

if TYPE_CHECKING:  # what prints no table starts without them
    from tflsplit.cli.output.tables import Column

_IS_WIDE = f"{__name__}.is_wide"


def write(words: str) -> None:
    """Prints text on stdout, and at a terminal breaks its lines between words. Control characters, which may come from
    a file, are shown as escapes."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for line in text.printable(words).split("\n"):
        print(*(text.wrapped(line, width) if text.columns(line) > width else [line]), sep="\n", flush=True)


def verbatim(content: str) -> None:
    """Prints what is there to be copied: as `write` does, but its lines are never broken."""
    print(text.printable(content), flush=True)


def as_json(value: object) -> None:
    """Prints a line of JSON, in one piece: another thread may print one too."""
    print(text.json_line(value, sys.stdout.encoding) + "\n", end="", flush=True)


def wide_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--wide`, which `table` obeys."""
    return click.option(
        "--wide",
        is_flag=True,
        expose_value=False,
        callback=lambda context, _parameter, value: context.meta.update({_IS_WIDE: value}),
        help="Show all columns of a table whole, however narrow the terminal is.",
    )(function)


def table(title: str, columns: "Sequence[Column | str]", rows: Sequence[Sequence[object]]) -> None:
    """Prints a table as `tflsplit.cli.output.tables` lays it out for this terminal; to a pipe it is whole."""
    from tflsplit.cli.output import tables

    context = click.get_current_context(silent=True)
    is_whole = not sys.stdout.isatty() or (context is not None and context.meta.get(_IS_WIDE, False))
    width = None if is_whole else shutil.get_terminal_size().columns
    described = [tables.Column(each) if isinstance(each, str) else each for each in columns]
    made = tables.lay_out(described, rows, width)
    write(title)
    print(*made.lines, sep="\n", flush=True)
    if made.left_out:
        write(f"(no room for {', '.join(made.left_out)}: --wide shows all)")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr if that is a terminal. Gives a function that moves the bar one step."""
    with _bar(description, total, "MofNCompleteColumn" if total is not None else None) as update:

        def step(*_: object, description: str | None = None) -> None:
            update(advance=1, description=description and text.printable(description))

        yield step


@contextmanager
def percentage() -> Iterator[Callable[[str, int | None], None]]:
    """A progress bar on stderr if that is a terminal. Gives a function for what is being done and its percentage."""
    with _bar("", 100, "TaskProgressColumn") as update:
        yield lambda words, percent: update(description=text.printable(words), completed=percent)


@contextmanager
def _bar(description: str, total: int | None, figure: str | None) -> Iterator[Callable[..., None]]:
    """Gives a function for what changes. `figure` is the class in `rich.progress` for how far it is. The log stands in
    lines of its own above the bar."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda **_: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = [bars.TextColumn("{task.description}", markup=False), bars.BarColumn(), bars.TimeElapsedColumn()]
    if figure is not None:
        columns.insert(2, getattr(bars, figure)())
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown, logs.above_a_bar():
        task = shown.add_task(description, total=total)
        yield lambda **changes: shown.update(task, **changes)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C calls `stop`, which ends the block's loop in order; the second interrupts it.

    A thread calls it. Python runs a signal's handler in the main thread between any two steps, so also while that holds
    the lock of what it waits for; a handler that takes the same lock, as `threading.Event.set` does, waits for ever.
    """
    hearing, telling = os.pipe()

    def on_signal(number: int, _frame: object) -> None:
        os.write(telling, b"!")
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.default_int_handler)

    def hear() -> None:
        if os.read(hearing, 1):
            stop()

    thread = threading.Thread(target=hear, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(telling)
        thread.join()
        os.close(hearing)
