"""Tables for people, laid out for a number of terminal columns. Pure: cells in, lines out.

Ids and numbers are never cut. A name that is too long is shortened in its middle, so that it is told from the others of
its column; a note goes on in the next line. Where that is not enough, the columns that matter least are left out; where
the others do not fit either, each row becomes a block with a line for each cell.
"""

import textwrap
from collections.abc import Sequence
from enum import Enum

from tflsplit import text
from tflsplit.values.classes import dataclass, replace

_GAP = 2
# Room that a name or a note gets at least, before other columns are left out.
_FEWEST_COLUMNS = 16
_LONGEST_RULE = 160


class Kind(Enum):
    """How a cell is made to fit: not at all, by an ellipsis in its middle, or by more lines."""

    WHOLE = "whole"
    NAME = "name"
    NOTE = "note"


_ORDER = (Kind.WHOLE, Kind.NOTE, Kind.NAME)


@dataclass(frozen=True, slots=True)
class Column:
    """`rank` says what is left out first: the highest, and 0 never."""

    title: str
    kind: Kind = Kind.WHOLE
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """`left_out` are the titles of the columns that found no room."""

    lines: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Filled:
    """A column with its cells."""

    column: Column
    cells: tuple[str, ...]
    is_numeric: bool
    width: int = 0

    @property
    def widest(self) -> int:
        return max(map(text.columns, self.cells), default=0)

    @property
    def least(self) -> int:
        """The width it needs; its title may be broken between words."""
        content = self.widest if self.column.kind is Kind.WHOLE else min(self.widest, _FEWEST_COLUMNS)
        return max(content, *map(text.columns, self.column.title.split()), 0, 0)

    @property
    def natural(self) -> int:
        return max(self.widest, text.columns(self.column.title))

    def fitted(self, width: int) -> list[list[str]]:
        """The lines of each cell."""
        if self.column.kind is Kind.NAME:
            short = text.told_apart(self.cells, width)
            return [[short[cell]] for cell in self.cells]
        is_note = self.column.kind is Kind.NOTE
        return [
            textwrap.wrap(cell, width, break_on_hyphens=False) if is_note and text.columns(cell) > width else [cell]
            for cell in self.cells
        ]

    def padded(self, line: str) -> str:
        room = " " * (self.width - text.columns(line))
        return room + line if self.is_numeric else line + room


def lay_out(columns: Sequence[Column], rows: Sequence[Sequence[object]], width: int | None) -> Layout:
    """The lines of a table, titles first. With a `width` of None nothing is cut or left out, and names come last."""
    filled = [
        _Filled(
            column,
            tuple(_shown(row[place]) for row in rows),
            _are_numbers([row[place] for row in rows]),
        )
        for place, column in enumerate(columns)
    ]
    if width is None:  # names last: they may be of any length, and push the numbers out of sight
        ordered = sorted(filled, key=lambda each: _ORDER.index(each.column.kind))
        return Layout(tuple(_lines([replace(each, width=each.natural) for each in ordered])))
    kept = _with_room(filled, width)
    left_out = tuple(each.column.title for each in filled if each not in kept)
    if _total([each.least for each in kept]) > width:
        return Layout(tuple(_blocks(kept, width)), left_out)
    return Layout(tuple(_lines(_widened(kept, width))), left_out)


def _shown(cell: object) -> str:
    if isinstance(cell, int | float):  # fractions have one number of digits, so that points stand below each other
        return f"{cell:,}" if isinstance(cell, int) else f"{cell:,.3f}"
    return "" if cell is None else text.printable(str(cell))


def _are_numbers(cells: Sequence[object]) -> bool:
    """Digits stand below each other, whatever stands for a number that is missing or has no end."""
    told = [cell for cell in cells if cell not in (None, "")]
    return all(map(_is_number, told)) and (bool(told) or not cells)


def _is_number(cell: object) -> bool:
    bare = str(cell).strip("%+-")
    return (
        isinstance(cell, int | float)
        or bare in ("inf", "nan", "∞", "equal")
        or bare.replace(",", "").replace(".", "", 1).isdigit()
    )


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _with_room(filled: Sequence[_Filled], width: int) -> list[_Filled]:
    """The columns of rank 0, and of the others as many as fit; of one rank the last goes first."""
    kept = list(filled)
    for each in sorted(filled, key=lambda each: each.column.rank)[::-1]:
        if each.column.rank == 0 or _total([one.least for one in kept]) <= width:
            break
        kept.remove(each)
    return kept


def _widened(kept: Sequence[_Filled], width: int) -> list[_Filled]:
    """Gives away the room that is left: to names and notes first, then to titles, and first to what needs least."""
    widths = [each.least for each in kept]
    spare = width - _total(widths)
    for wanted in ([each.widest for each in kept], [each.natural for each in kept]):
        for place, most in sorted(enumerate(wanted), key=lambda each: each[1] - widths[each[0]]):
            more = min(spare, max(0, most - widths[place]))
            widths[place] += more
            spare -= more
    return [replace(each, width=wide) for each, wide in zip(kept, widths, strict=True)]


def _lines(filled: Sequence[_Filled]) -> list[str]:
    titles = [textwrap.wrap(each.column.title, each.width or 1) for each in filled]
    height = max(map(len, titles))
    rows = [["" for _ in range(height - len(title))] + title for title in titles]
    lines = [_line(filled, [row[at] for row in rows]) for at in range(height)]
    lines.append("─" * min(_total([each.width for each in filled]), _LONGEST_RULE))
    for folded in zip(*(each.fitted(each.width) for each in filled), strict=True):
        height = max(map(len, folded))
        lines += [_line(filled, [cell[at] if at < len(cell) else "" for cell in folded]) for at in range(height)]
    return lines


def _line(filled: Sequence[_Filled], cells: Sequence[str]) -> str:
    return (" " * _GAP).join(each.padded(cell) for each, cell in zip(filled, cells, strict=True)).rstrip()


def _blocks(filled: Sequence[_Filled], width: int) -> list[str]:
    """A line for each cell that is not empty, behind its title; what does not fit beside the title stands below it."""
    margin = max(text.columns(each.column.title) for each in filled) + _GAP
    beside = [each.fitted(max(width - margin, _FEWEST_COLUMNS)) for each in filled]
    below = [each.fitted(width) for each in filled]
    lines: list[str] = []
    for number in range(len(filled[0].cells)):
        lines += [""] if lines else []
        for each, narrow, wide in zip(filled, beside, below, strict=True):
            title, (first, *others) = each.column.title.ljust(margin), narrow[number]
            if not first:
                continue
            if margin + text.columns(first) > width:
                lines += [title.rstrip(), *wide[number]]
            else:
                lines += [title + first, *(" " * margin + line for line in others)]
    return lines
