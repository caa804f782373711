"""A command's settings out of its file, the drop-ins and the environment: which value counts, and all that is wrong.

Imported only where there is a file, or a variable of ours in the environment.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import click

from tflsplit import arguments, configuration, errors, text
from tflsplit.cli.options.connection import OneOrMore
from tflsplit.values.classes import dataclass

# Click's names of types whose values are text.
_TEXTS = frozenset({"text", "choice", "path", "file", "filename", "directory"})
_NUMBERS = {"integer": "a whole number", "float": "a number"}


class Command(Protocol):
    """What is asked here of a command: the names of its settings, and how each is checked.

    It is `tflsplit.cli.settings.command.Command`, which imports this module.
    """

    @property
    def checks(self) -> Mapping[str, Callable[[Any], object]]: ...

    @property
    def paths(self) -> frozenset[str]: ...

    @property
    def table(self) -> str: ...

    @property
    def repeated(self) -> str | None: ...

    @property
    def prefix(self) -> str: ...

    @property
    def settings(self) -> Mapping[str, click.Parameter]: ...

    def variable(self, key: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting's value, and where it was set: a file and line, a variable of the environment, or `default`."""

    key: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Merged:
    """The value of every setting by its key, and all that is wrong. `from_files` is click's default map. `repeats` is
    how many repeated tables there are; these are the settings of the one `at`."""

    settings: Mapping[str, Setting]
    problems: tuple[str, ...]
    from_files: Mapping[str, Any]
    repeats: int = 0
    at: int = 0

    def value(self, key: str) -> Any:
        """None where nothing is set, or where what is set is wrong."""
        return self.settings[key].value


def merge(command: Command, file: Path | None, *, root: Path = Path("/"), at: int = 0) -> Merged:
    """Reads the file, its drop-ins and the environment. The file and all that it names are below `root`. Where the file
    has repeated tables, the one `at` counts before the command's own table."""
    contents = configuration.Contents((), ())
    if file is not None:
        file = file.absolute()
        contents = configuration.read(root / file.relative_to("/"), command.table, command.repeated)
    problems = list(contents.problems)
    found: dict[str, Setting] = {}
    from_files: dict[str, Any] = {}
    for entry in (*contents.entries, *(entry for table in contents.repeated[at : at + 1] for entry in table)):
        parameter = _known(command, entry.key, entry.place, problems)
        if parameter is None or parameter.name is None:
            continue
        value = _resolved(command, entry, parameter, file)
        if problem := _wrong(parameter, value) or _refused(command, entry.key, value):
            problems.append(f"{entry.place}: {entry.key}: {problem}")
            value = None
        found[entry.key] = Setting(entry.key, value, entry.place)
        from_files[parameter.name] = value
    _read_environment(command, found, problems)
    defaults = {key: Setting(key, _default(parameter), "default") for key, parameter in command.settings.items()}
    return Merged(defaults | found, tuple(problems), from_files, len(contents.repeated), at)


def _known(command: Command, key: str, place: str, problems: list[str]) -> click.Parameter | None:
    parameter = command.settings.get(key)
    if parameter is None and configuration.is_secret(key):
        problems.append(
            f"{place}: {key}: a secret does not belong here; write it to a file that only root may read and name "
            "that with password-file"
        )
    elif parameter is None:
        problems.append(f"{place}: there is no key {key!r}{text.meant(key, command.settings)}")
    return parameter


def _resolved(command: Command, entry: configuration.Entry, parameter: click.Parameter, file: Path | None) -> Any:
    """Paths are relative to the file's folder, in its drop-ins too: a service runs in a folder of its own."""
    if isinstance(entry.value, str) and isinstance(parameter, OneOrMore):
        return [entry.value]
    if entry.key in command.paths and file is not None and isinstance(entry.value, str):
        from edge_runtime.sources import words

        if words.is_word(entry.value):
            return words.beside(entry.value, file.parent)
        return str(arguments.beside(entry.value, file.parent))
    is_path = isinstance(parameter.type, click.Path)
    if not is_path or file is None:
        return entry.value
    if isinstance(entry.value, list):
        return [str(arguments.beside(one, file.parent)) if isinstance(one, str) else one for one in entry.value]
    return str(arguments.beside(entry.value, file.parent)) if isinstance(entry.value, str) else entry.value


def _refused(command: Command, key: str, value: Any) -> str | None:
    check = command.checks.get(key)
    try:
        if check is not None:
            check(value)
    except errors.TflsplitError as refused:
        return str(refused)
    return None


def _read_environment(command: Command, found: dict[str, Setting], problems: list[str]) -> None:
    by_variable = {command.variable(key): key for key in command.settings}
    for name in sorted(name for name in os.environ if name.startswith(command.prefix)):
        given, place = os.environ[name], f"environment {name}"
        if name not in by_variable:
            _known(command, name.removeprefix(command.prefix).replace("_", "-").lower(), place, problems)
        elif given != "":  # which click takes for not set
            key = by_variable[name]
            parameter = command.settings[key]
            if problem := _not_convertible(parameter, given) or _refused(command, key, given):
                problems.append(f"{place}: {problem}")
            value = parameter.type.split_envvar_value(given) if _takes_several(parameter) else given
            found[key] = Setting(key, None if problem else value, place)


def _default(parameter: click.Parameter) -> Any:
    default = parameter.get_default(click.Context(click.Command(None)), call=True)
    return default if isinstance(default, str | int | float | tuple) and default != () else None


def _wrong(parameter: click.Parameter, value: Any) -> str | None:
    """What is wrong with a value that TOML gave a type of its own."""
    if _takes_several(parameter):
        if not isinstance(value, list):
            return f"{value!r} is one value, expected a list: [{value!r}]"
        return next(filter(None, (_wrong_type(parameter, one) for one in value)), None)
    return _wrong_type(parameter, value)


def _takes_several(parameter: click.Parameter) -> bool:
    """A repeated option, or an argument of which there may be several."""
    return parameter.multiple or parameter.nargs == -1


def _wrong_type(parameter: click.Parameter, value: Any) -> str | None:
    """Quantities of our own are written as numbers in their unit or as text with one: 2.5 or "2500ms"."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    is_number = is_integer or isinstance(value, float)
    is_text = isinstance(value, str)
    if getattr(parameter, "is_flag", False):
        is_right, expected = isinstance(value, bool), "true or false"
    elif parameter.type.name.startswith("integer"):
        is_right, expected = is_integer, "a whole number"
    elif parameter.type.name.startswith("float"):
        is_right, expected = is_number, "a number"
    elif parameter.type.name in _TEXTS:
        is_right, expected = is_text, "text in quotes"
    else:
        is_right, expected = is_number or is_text, f"{parameter.type.name}, as a number or as text in quotes"
    if not is_right:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)  # as it stands in TOML
        return f"{shown}, expected {expected}"
    return _not_convertible(parameter, value if isinstance(value, bool) else str(value))


def _not_convertible(parameter: click.Parameter, value: Any) -> str | None:
    """Checks choices and ranges, and that a variable's text can be converted. Files are not looked at: a flag may name
    another file in place of one that only root may read, as is done for a service's credentials."""
    if isinstance(parameter.type, click.Path):
        return None
    values = value.split() if _takes_several(parameter) and isinstance(value, str) else [value]
    try:
        for one in values:
            parameter.type.convert(one, parameter, None)
    except click.BadParameter as refused:
        words = refused.message.rstrip(".")
        return re.sub(
            r" is not a valid (integer|float)( range)?$", lambda kind: f", expected {_NUMBERS[kind[1]]}", words
        )
    return None
