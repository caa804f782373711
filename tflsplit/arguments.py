"""Checks what people pass to public calls, so that a wrong type is refused in our words and at the call."""

import dataclasses
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from tflsplit import errors

# What Linux takes, in bytes; asking the system about a longer name or path raises OSError, whatever is asked.
_LONGEST_NAME, _LONGEST_PATH = 255, 4095

PathLike = str | os.PathLike[str]
_Instance = TypeVar("_Instance")


def path(value: object, what: str) -> Path:
    """`value` as a Path. SettingsError if it is none: an empty text would mean the current folder. What begins with ~,
    and is not there, is below the home folder: no shell has read what stands in Python, in a file, or behind `=`."""
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise wrong(what, value, "a path (str or Path)")
    found = Path(text)
    try:
        lengths = [len(os.fsencode(part)) for part in found.parts]
    except UnicodeEncodeError:
        raise wrong(what, value, "a path, of whole characters") from None
    if max(lengths, default=0) > _LONGEST_NAME or sum(lengths) + len(lengths) > _LONGEST_PATH:
        raise wrong(what, value, f"a path of at most {_LONGEST_PATH} bytes with names of at most {_LONGEST_NAME}")
    return beside(text, Path())


def beside(text: str, folder: Path) -> Path:
    """A path in the folder, or below the home folder if it begins with ~ and is not there."""
    found = folder / text
    if not text.startswith("~") or os.path.lexists(found):
        return found
    at_home = os.path.expanduser(text)
    return found if at_home == text else Path(at_home)  # of nobody: a name like any other


def read(path: Path, most: int = -1) -> bytes:
    """What a file that somebody named holds, or its first `most` bytes. A pipe that nobody writes to is empty: opened
    otherwise it would be waited for without a word."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        os.set_blocking(file.fileno(), True)
        return file.read(most)


def text(value: object, what: str) -> str:
    return instance(value, str, what)


def texts(value: object, what: str) -> tuple[str, ...]:
    """One word, or several: `"op012"` is `("op012",)`, never its letters."""
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        found = tuple(value)
        if all(isinstance(entry, str) for entry in found):
            return found
    raise wrong(what, value, "a text, or a sequence of texts")


def one_of(value: object, words: Sequence[str], what: str) -> str:
    """One of the words; an enum's member of such a value is one too."""
    if isinstance(value, str) and value in words:
        return str(getattr(value, "value", value))
    raise errors.SettingsError(f"{what} {value!r}: expected one of {', '.join(words)}")


def instance(value: object, kind: type[_Instance], what: str) -> _Instance:
    """SettingsError if `value` is of another type. A bool is no number."""
    if not _fits(value, kind):
        raise wrong(what, value, _name(kind))
    return typing.cast(_Instance, value)


def provides(value: object, method: str, what: str) -> None:
    """SettingsError for what lacks the method that a protocol begins with, as a text in place of a transport does."""
    if not callable(getattr(value, method, None)):
        raise wrong(what, value, f"a {what}, as one that can {method!r}")


def check_fields(checked: Any) -> None:
    """SettingsError naming the first field of a dataclass whose value is not of the type it is declared with.

    Types that are written as a text are not checked, since their names cannot be looked up here; nor are protocols.
    """
    for field in dataclasses.fields(checked):
        value = getattr(checked, field.name)
        if not _fits(value, field.type):
            raise wrong(field.name, value, _name(field.type))


def wrong(what: str, value: object, expected: str) -> errors.SettingsError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."  # an array or a package would fill the screen
    return errors.SettingsError(f"{what}: found {shown} of type {type(value).__name__}, expected {expected}")


def _fits(value: object, kind: Any) -> bool:
    if type(value) is kind or isinstance(kind, str) or getattr(kind, "_is_protocol", False):
        return True
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return any(_fits(value, entry) for entry in typing.get_args(kind))
    origin = typing.get_origin(kind)
    if origin is tuple:
        return isinstance(value, tuple) and _fit(value, typing.get_args(kind))
    if origin is Mapping:
        of_keys, of_values = typing.get_args(kind)
        return isinstance(value, Mapping) and all(
            _fits(key, of_keys) and _fits(entry, of_values) for key, entry in value.items()
        )
    if kind in (int, float):  # what numpy counts with is welcome, True is not
        return isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    return isinstance(value, origin or kind) if isinstance(origin or kind, type) else True


def _fit(values: tuple[object, ...], kinds: tuple[Any, ...]) -> bool:
    """Whether each fits its kind; `...` stands for more of the first."""
    if kinds[-1] is ...:
        return all(_fits(value, kinds[0]) for value in values)
    return len(values) == len(kinds) and all(map(_fits, values, kinds))


def _name(kind: Any) -> str:
    if kind is None or kind is type(None):
        return "None"
    if typing.get_origin(kind) is None and isinstance(kind, type):
        return kind.__name__
    return " or ".join(_name(entry) for entry in typing.get_args(kind)) if _is_union(kind) else str(kind)


def _is_union(kind: Any) -> bool:
    return isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union
