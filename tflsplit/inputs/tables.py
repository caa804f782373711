"""Numbers out of `.csv` files: a row a sample, in UTF-8 with or without a byte order mark, with any line ends."""

import csv
import math
import re
from pathlib import Path

import numpy as np

from tflsplit import errors
from tflsplit.graph.tensors import Array

MOST_BYTES = 256 << 20  # each cell takes ten times its size while it is text


def read(path: Path, shape: tuple[int, ...]) -> Array:
    """Numbers (rows, *shape); empty rows are left out. A first row that holds no number is a header, and so is one of
    whole numbers in even steps (0, 1, 2 as pandas writes, 400, 410, 420) above columns that are not whole.

    DataError names the row that does not fit.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise errors.DataError(f"{path}: has more than {MOST_BYTES:,} bytes; keep its numbers as .npy")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as cause:
        raise errors.DataError(f"{path}: cannot be read as .csv: it is no UTF-8; save it as UTF-8") from cause
    except (OSError, csv.Error) as cause:
        raise errors.DataError(f"{path}: cannot be read as .csv ({errors.one_line(cause)})") from cause
    mark = next((mark for mark in ";\t" if rows and len(rows[0]) == 1 and mark in rows[0][0]), None)
    if mark is not None:
        raise errors.DataError(f"{path}: its numbers are parted by {mark!r}; part them by commas")
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    elif _is_numbered(rows):
        rows = _without_numbers(path, rows)
    expected = math.prod(shape)
    for number, row in enumerate(rows, 1):
        if len(row) != expected or not all(_is_number(cell) for cell in row):
            raise errors.DataError(
                f"{path}: data row {number} is {len(row)} cells ({','.join(row)[:60]!r}); expected {expected} numbers"
            )
    return np.asarray(rows, np.float64).reshape(len(rows), *shape)


def _is_numbered(rows: list[list[str]]) -> bool:
    """Whether the first row counts its columns in even steps, and others follow."""
    if len(rows) < 2 or len(rows[0]) < 3 or not all(re.fullmatch(r"\s*\d{1,9}\s*", cell) for cell in rows[0]):
        return False
    steps = {int(after) - int(before) for before, after in zip(rows[0], rows[0][1:], strict=False)}
    return len(steps) == 1 and steps.pop() > 0


def _without_numbers(path: Path, rows: list[list[str]]) -> list[list[str]]:
    """The rows below a header of numbers; all rows where the first is as the others are. DataError where it may be
    either: it counts from 0 as pandas does, and all others are whole numbers too."""
    fractions = [any("." in row[place] for row in rows[1:] if place < len(row)) for place in range(len(rows[0]))]
    if all(fractions):
        return rows[1:]
    if [int(cell) for cell in rows[0][:2]] == [0, 1]:
        raise errors.DataError(
            f"{path}: its first row ({','.join(rows[0][:4])}, …) counts the columns: remove it if it is a header, or "
            "write its numbers as 0.0, 1.0 if it is a sample"
        )
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell  # Python's own way to group digits
