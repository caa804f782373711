"""Settings out of TOML: a file, and over it the drop-ins of the folder beside it; each value keeps its place.

The callers know which keys there are and what they mean. Nothing here raises: problems are collected, so that a person
sees all of them at once.
"""

import functools
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tflsplit import arguments, strict_json
from tflsplit.values.classes import dataclass

_HEADER = re.compile(r"\s*\[{1,2}\s*([\w-]+)\s*\]{1,2}\s*(#.*)?")
_KEY = re.compile(r"\s*([\w-]+)\s*=")
_FILES = 8  # remembered: one and its drop-ins
_SECRET = re.compile(r"(?i)(^|[-_])(password|passwd|passphrase|pass|secret|token|pin)$")


@dataclass(frozen=True, slots=True)
class Entry:
    """`place` is the file, and the line where that is certain."""

    key: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Contents:
    """Of one table, in the order in which they count: a later entry of the same key replaces an earlier one.
    `repeated` are the entries of each table that may stand several times."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    repeated: tuple[tuple[Entry, ...], ...] = ()


def drop_in_folder(path: Path) -> Path:
    """`edge.d` for `edge.toml`."""
    return path.with_suffix(".d")


def read(path: Path, table: str, repeated: str | None = None) -> Contents:
    """The entries of `[table]` in the file and then in its drop-ins, these sorted by name, and those of each
    `[[repeated]]`."""
    entries: list[Entry] = []
    problems: list[str] = []
    several: list[tuple[Entry, ...]] = []
    for file in (path, *sorted(drop_in_folder(path).glob("*.toml"))):
        text, found = parsed(file, problems)
        lines = _lines(text)
        for name, value in found.items():
            if name == repeated and isinstance(value, list) and all(isinstance(one, Mapping) for one in value):
                for one in value:
                    place = f"{file}{_at(lines, '', name)} ({name} {len(several) + 1})"
                    several.append(tuple(Entry(key, given, place) for key, given in one.items()))
            elif name != table:
                problems.append(_stray(f"{file}{_at(lines, '', name)}", name, value, table))
            elif not isinstance(value, Mapping):
                problems.append(f"{file}{_at(lines, '', name)}: {name} is a value, expected the table [{table}]")
            else:
                entries += [Entry(key, one, f"{file}{_at(lines, table, key)}") for key, one in value.items()]
    return Contents(tuple(entries), tuple(problems), tuple(several))


def tables(path: Path) -> tuple[str, ...]:
    """The names of what stands at the top of a file; none where it cannot be read."""
    return tuple(parsed(path, [])[1])


def is_secret(key: str) -> bool:
    """Whether a key's name says that its value must not stand where many may read it."""
    return _SECRET.search(key) is not None


def parsed(file: Path, problems: list[str]) -> tuple[str, Mapping[str, Any]]:
    """The file's text and contents; empty where something is wrong with it, which is added to `problems`."""
    try:
        text = arguments.read(file).decode("utf-8-sig")
        return text, _loaded(text)
    except OSError as cause:
        problems.append(f"{file}: cannot be read ({cause.strerror})")
    except UnicodeDecodeError as cause:
        problems.append(f"{file}: is no UTF-8 text (byte {cause.start})")
    except (ValueError, RecursionError) as cause:
        problems.append(f"{file}: {cause}")
    return "", {}


# Each of a file's repeated tables is a run that reads the whole file: it is parsed once for hundreds of them.
@functools.lru_cache(maxsize=_FILES)
def _loaded(text: str) -> Mapping[str, Any]:
    # Imported here: an edge without a configuration file starts without it.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        found: Mapping[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise ValueError(f"is no TOML: {cause}") from cause
    strict_json.check_finite(found)
    return found


def _stray(place: str, name: str, value: object, table: str) -> str:
    if isinstance(value, Mapping):
        return f"{place}: table [{name}] is not read, expected [{table}]"
    return f"{place}: {name} stands outside of any table, expected it below [{table}]"


@functools.lru_cache(maxsize=_FILES)
def _lines(text: str) -> Mapping[tuple[str, str], list[int]]:
    """Lines of a key or (with the key as table and no key) a table's own, which TOML's parser does not give."""
    found: dict[tuple[str, str], list[int]] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.fullmatch(line):
            table = header[1]
            found.setdefault(("", table), []).append(number)
        elif key := _KEY.match(line):
            found.setdefault((table, key[1]), []).append(number)
    return found


def _at(lines: Mapping[tuple[str, str], list[int]], table: str, key: str) -> str:
    """`:LINE`; empty where two lines look alike, of which one is inside a string of several lines."""
    numbers = lines.get((table, key), [])
    return f":{numbers[0]}" if len(numbers) == 1 else ""
