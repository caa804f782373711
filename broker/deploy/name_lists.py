"""Names of many clients out of a file: a list with a name on each line, or a CSV with a column of names."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from broker.deploy import ledger
from tflsplit import arguments, errors, text

# A column of these names, in the first line, has the names; the first of them that is there counts.
_HEADERS = ("name", "device", "client")


def read(path: Path) -> tuple[str, ...]:
    """The names in their order; empty lines and lines that begin with # are left out.

    SettingsError names the line of a name that is not allowed or comes twice, and of a table that does not say which
    column has the names; DataError a file that is no text or no CSV.
    """
    found: dict[str, int] = {}
    for line, name in _named(path):
        try:
            ledger.check_name(name)
        except errors.SettingsError as refused:
            raise errors.SettingsError(f"{path}:{line}: {refused}; nothing was done, rename it") from refused
        if name in found:
            raise errors.SettingsError(
                f"{path}:{line}: {name!r} stands in line {found[name]} already; nothing was done, take one out"
            )
        found[name] = line
    if not found:
        raise errors.SettingsError(f"{path}: no names are in it; give one on each line")
    return tuple(found)


def _named(path: Path) -> Iterator[tuple[int, str]]:
    rows = _rows(path)
    first, header = next(rows, (0, []))
    columns = _columns([cell.lower() for cell in header])
    if len(columns) > 1 or (not columns and len(header) > 1):
        raise errors.SettingsError(
            f"{path}:{first}: {len(columns)} of its {len(header)} columns can have the names; "
            "nothing was done, call one `name` in the first line"
        )
    if not columns and header:
        yield first, header[0]
    column = columns[0] if columns else 0
    for number, cells in rows:
        if not column < len(cells) <= len(header):
            raise errors.SettingsError(
                f"{path}:{number}: has {text.counted(len(cells), 'column')}, the first line has {len(header)}; "
                "nothing was done, correct it"
            )
        yield number, cells[column]


def _columns(header: list[str]) -> list[int]:
    word = next((word for word in _HEADERS if word in header), None)
    return [column for column, cell in enumerate(header) if cell == word]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each line that says something, with the number of its last line in the file, for a cell may have several."""
    try:
        content = arguments.read(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as cause:
        raise errors.DataError(f"{path}: cannot be read as a list of names ({errors.one_line(cause)})") from cause
    lines = ["\n" if line.lstrip().startswith("#") else line for line in io.StringIO(content, newline=None)]
    first = next((line for line in lines if line.strip()), "")
    separator = next((sign for sign in ",;\t" if sign in first), ",")
    rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for row in rows:
            if any(cells := [cell.strip() for cell in row]):
                yield rows.line_num, cells
    except csv.Error as cause:
        raise errors.DataError(
            f"{path}:{rows.line_num}: cannot be read as a list of names ({errors.one_line(cause)}); correct that line"
        ) from cause
