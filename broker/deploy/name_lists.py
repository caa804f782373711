"""Names of many clients out of a file: a list with a name on each line, or the first column of a CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path

from broker.deploy import ledger
from tflsplit import errors

# A column of these names, in the first line, has the names.
_HEADERS = ("name", "device", "client")


def read(path: Path) -> tuple[str, ...]:
    """The names in their order; empty lines and lines that begin with # are left out.

    SettingsError names the line of a name that is not allowed or comes twice, and DataError a file that is no text.
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
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise errors.DataError(f"{path}: cannot be read as a list of names ({errors.one_line(cause)})") from cause
    column = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=_separator(line)))]
        header = [cell.lower() for cell in cells]
        if number == 1 and (named := [header.index(word) for word in _HEADERS if word in header]):
            column = named[0]
            continue
        if column >= len(cells):
            raise errors.SettingsError(
                f"{path}:{number}: has {len(cells)} columns, the names are in column {column + 1}"
            )
        yield number, cells[column]


def _separator(line: str) -> str:
    return next((sign for sign in ",;\t" if sign in line), ",")
