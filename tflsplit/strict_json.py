"""JSON from others, taken literally: finite numbers of 64 bits, no key twice, nested no deeper than anything of ours,
texts of whole characters.

Python's reader takes NaN, reads 1e999 as infinity, keeps the last of two equal keys, and makes of half a surrogate pair
a text that cannot be written; each surprises whoever works with the result, far from the file.
"""

import json
import math
from typing import Any

_MOST_DEPTH = 64
_MOST_WHOLE = 1 << 64


def parse(text: str | bytes) -> Any:
    """ValueError in one line for anything else than such JSON in UTF-8."""
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if text.startswith("\ufeff"):
        raise json.JSONDecodeError("Unexpected UTF-8 BOM (decode using utf-8-sig)", text, 0)
    try:
        found = _decode(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {_MOST_DEPTH} levels") from None
    if text.count("[") + text.count("{") > _MOST_DEPTH:  # else it cannot be that deep
        _check_depth(found)
    if "\\ud" in text or "\\uD" in text:
        _check_whole(found)
    return found


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The same for text that has to be one object."""
    found = parse(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected an object, found {type(found).__name__}")
    return found


def check_finite(value: object, place: str = "") -> None:
    """ValueError naming the key of a number that is none, or of tables deeper than anything of ours."""
    pending = [(value, place, 0)]
    while pending:
        entry, name, depth = pending.pop()
        if isinstance(entry, float) and not math.isfinite(entry):
            raise ValueError(f"{name or 'the file'} is {entry}, expected a finite number")
        if isinstance(entry, int) and abs(entry) >= _MOST_WHOLE:
            raise ValueError(f"{name or 'the file'} is a number of more than 64 bits")
        if depth > _MOST_DEPTH:
            raise ValueError(f"nested deeper than {_MOST_DEPTH} levels")
        if isinstance(entry, dict):
            pending += [(inner, f"{name}.{key}".lstrip("."), depth + 1) for key, inner in entry.items()]
        elif isinstance(entry, list):
            pending += [(inner, name, depth + 1) for inner in entry]


def _check_depth(found: object) -> None:
    level = [found]
    for _ in range(_MOST_DEPTH + 1):
        inner = [
            entry.values() if isinstance(entry, dict) else entry for entry in level if isinstance(entry, dict | list)
        ]
        level = [value for values in inner for value in values]
        if not level:
            return
    raise ValueError(f"nested deeper than {_MOST_DEPTH} levels")


def _check_whole(found: object) -> None:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text with half of a character") from None


def _real(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _whole(text: str) -> int:
    if len(text) > 21 or abs(number := int(text)) >= _MOST_WHOLE:
        raise ValueError(f"the number {text[:20]} is too large")
    return number


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice[:40]!r} twice")
    return found


# Made once, because `json.loads` makes a decoder in each call.
_decode = json.JSONDecoder(
    parse_float=_real, parse_int=_whole, parse_constant=_no_number, object_pairs_hook=_without_repeats
).decode
