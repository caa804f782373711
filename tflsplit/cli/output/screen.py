"""What commands print: JSON or tables on stdout, progress on stderr."""

import importlib.util
import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+%?|inf|nan")


def as_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table as wide as the terminal; numbers to the right and never broken. Piped, it takes the width it needs.

    Without rich, which an edge does not install, the same words with tabs between them.
    """
    shown = [
        ["" if cell is None else f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows
    ]
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for line in ([title], list(columns), *shown):
            click.echo("\t".join(line))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        is_numeric = all(_is_number(row[place]) for row in rows)
        made.add_column(
            column, justify="right" if is_numeric else "left", no_wrap=is_numeric or place == 1, overflow="fold"
        )
    for line in shown:
        made.add_row(*line)
    console.print(made)


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float) or (isinstance(cell, str) and _NUMBER.fullmatch(cell) is not None)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr if that is a terminal. Gives a function that moves the bar one step."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda *_, **__: None
        return
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: tuple[Any, ...] = (TextColumn("{task.description}"), Bar(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(description, total=total)

        def step(*_: object, description: str | None = None) -> None:
            shown.update(task, advance=1, description=description)

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
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=100)
        yield lambda words, percent: shown.update(task, description=words, completed=percent)


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
