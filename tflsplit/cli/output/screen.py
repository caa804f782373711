"""What commands print: JSON or tables on stdout, progress on stderr."""

import importlib.util
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from tflsplit import text
from tflsplit.cli.output import tables
from tflsplit.cli.output.tables import Column

_IS_WIDE = f"{__name__}.is_wide"


def write(line: str) -> None:
    """Prints text on stdout; control characters, which may come from a file, are shown as escapes."""
    print(text.printable(line), flush=True)


def as_json(value: object) -> None:
    """Prints a line of JSON."""
    print(text.json_line(value, sys.stdout.encoding), flush=True)


def wide_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--wide`, which `table` obeys."""
    return click.option(
        "--wide",
        is_flag=True,
        expose_value=False,
        callback=lambda context, _parameter, value: context.meta.update({_IS_WIDE: value}),
        help="Show all columns of a table whole, however narrow the terminal is.",
    )(function)


def table(title: str, columns: Sequence[Column | str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table as `tflsplit.cli.output.tables` lays it out for this terminal; to a pipe it is whole."""
    context = click.get_current_context(silent=True)
    is_whole = not sys.stdout.isatty() or (context is not None and context.meta.get(_IS_WIDE, False))
    width = None if is_whole else shutil.get_terminal_size().columns
    described = [Column(each) if isinstance(each, str) else each for each in columns]
    made = tables.lay_out(described, rows, width)
    print(*textwrap.wrap(text.printable(title), width or sys.maxsize), *made.lines, sep="\n", flush=True)
    if made.left_out:
        write(f"(no room for {', '.join(made.left_out)}: --wide shows all)")


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr if that is a terminal. Gives a function that moves the bar one step."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda *_, **__: None
        return
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        Bar(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(description, total=total)

        def step(*_: object, description: str | None = None) -> None:
            shown.update(task, advance=1, description=description and text.printable(description))

        yield step


@contextmanager
def percentage() -> Iterator[Callable[[str, int | None], None]]:
    """A progress bar on stderr if that is a terminal. Gives a function for what is being done and its percentage."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda words, percent: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=100)
        yield lambda words, percent: shown.update(task, description=text.printable(words), completed=percent)


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """The first SIGTERM or Ctrl-C calls `stop`, which ends the block's loop in order; the second interrupts it."""

    def on_signal(number: int, _frame: object) -> None:
        stop()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.default_int_handler)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
