"""Tables that are drawn again and again on the whole terminal, until the caller stops. The only door to rich's `Live`.

rich and not Textual: there is nothing to click, the tables are our own (`tflsplit.cli.output.tables`), and rich is what
progress bars have here already.
"""

import shutil
from collections.abc import Callable, Sequence

from tflsplit import errors, extras, text
from tflsplit.cli.output import logs, tables
from tflsplit.values.classes import dataclass

# A terminal is never so high, and laying out thousands of rows each second would be for nothing.
_MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` may be the first of `total`."""

    title: str
    columns: Sequence[tables.Column]
    rows: Sequence[Sequence[object]]
    total: int | None = None


def show(made: Callable[[int], Sequence[Table]], wait: Callable[[float], bool], *, every_s: float) -> None:
    """Draws what `made` gives, for a number of rows, every `every_s`, until `wait` for so long returns true. What was
    on the terminal before is there again afterwards."""
    try:
        from rich import live
        from rich.text import Text
    except ImportError as cause:
        raise errors.SettingsError(f"{extras.need('a live table', 'rich')}; --once prints one without") from cause
    with live.Live(screen=True, auto_refresh=False) as drawn, logs.above_a_bar():
        while True:
            size = shutil.get_terminal_size()
            shown = lines(made(min(size.lines, _MOST_ROWS)), size.columns, size.lines)
            drawn.update(Text("\n".join(shown), no_wrap=True), refresh=True)
            if wait(every_s):
                return


def lines(shown: Sequence[Table], width: int, height: int) -> list[str]:
    """At most `height` lines of at most `width` columns; what finds no room is said in the last line."""
    found: list[str] = []
    for place, table in enumerate(shown):
        laid = tables.lay_out(table.columns, table.rows, width).lines if table.rows else ("(none yet)",)
        found += [""] * bool(place)
        for line in text.printable(table.title).split("\n"):
            found += text.wrapped(line, width)
        found += laid
    total = sum(table.total or len(table.rows) for table in shown)
    is_cut = len(found) > height or any((table.total or 0) > len(table.rows) for table in shown)
    if is_cut:
        rest = f"… of {text.counted(total, 'row')}; `--once` prints all"
        found = [*found[: height - 1], text.shortened(rest, width)]
    return found
