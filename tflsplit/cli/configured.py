"""Commands whose options may also stand in a configuration file and in the environment.

The keys are the command's own options, so that a new option needs no second list. Flags count before the environment,
that before drop-ins, these before the file, and the file before defaults.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tflsplit import configuration, errors

# What says how to run the command rather than what it does.
_NOT_SETTINGS = frozenset({"config", "debug", "help"})

# Click's names of types whose values are text.
_TEXTS = frozenset({"text", "choice", "path", "file", "filename", "directory"})

Check = Callable[[Any], object]

# Keys of a context's notes: what was typed, and the file that was named.
_TYPED, _FILE = f"{__name__}.typed", f"{__name__}.file"


@dataclass(frozen=True, slots=True)
class Set:
    """A setting's value, and where it was set: a file and line, a variable of the environment, or `default`."""

    key: str
    value: Any
    place: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What counts, of every setting by its key, and all that is wrong. `from_files` is click's default map."""

    settings: Mapping[str, Set]
    problems: tuple[str, ...]
    from_files: Mapping[str, Any]

    def value(self, key: str) -> Any:
        """None where nothing is set, or something wrong."""
        return self.settings[key].value


class Command(click.Command):
    """Takes `--config FILE`, and each option from `TFLSPLIT_<COMMAND>_<OPTION>`.

    `checks` look at a setting's value beyond its type, by key, and raise what `tflsplit.errors` has. Settings named in
    `paths` are files unless they hold a colon, as those of click's own type for paths are.
    """

    def __init__(
        self, name: str | None, *, checks: Mapping[str, Check], paths: frozenset[str], **attributes: Any
    ) -> None:
        super().__init__(name, **attributes)
        self.checks = checks
        self._paths = paths
        self.params.append(
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_take,
                metavar="FILE",
                help="TOML file with these options as keys below [COMMAND]; read again on SIGHUP.",
            )
        )

    @property
    def settings(self) -> Mapping[str, click.Parameter]:
        """By key: an option's long name without dashes; the only argument is the package."""
        found = {_key(parameter): parameter for parameter in self.params}
        return {key: parameter for key, parameter in found.items() if key not in _NOT_SETTINGS}

    def variable(self, key: str) -> str:
        return f"{self._prefix}{key.replace('-', '_').upper()}"

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        for key, parameter in self.settings.items():
            parameter.envvar = self.variable(key)
        typed = list(args)
        made = super().make_context(info_name, args, parent, **extra)
        made.meta[_TYPED] = typed
        return made

    def is_in_environment(self) -> bool:
        return any(name.startswith(self._prefix) for name in os.environ)

    def merged(self, file: Path | None, *, root: Path = Path("/")) -> Merged:
        """Reads the file, its drop-ins and the environment. The file and all that it names are below `root`."""
        contents = configuration.Contents((), ())
        if file is not None:
            file = file.absolute()
            contents = configuration.read(root / file.relative_to("/"), self._table)
        problems = list(contents.problems)
        found: dict[str, Set] = {}
        from_files: dict[str, Any] = {}
        for entry in contents.entries:
            parameter = self._known(entry.key, entry.place, problems)
            if parameter is None or parameter.name is None:
                continue
            value = self._resolved(entry, parameter, file)
            if problem := _wrong(parameter, value) or self._refused(entry.key, value):
                problems.append(f"{entry.place}: {entry.key}: {problem}")
                value = None
            found[entry.key] = Set(entry.key, value, entry.place)
            from_files[parameter.name] = value
        self._read_environment(found, problems)
        defaults = {key: Set(key, self._default(parameter), "default") for key, parameter in self.settings.items()}
        return Merged(defaults | found, tuple(problems), from_files)

    @property
    def _table(self) -> str:
        return self.name or ""

    @property
    def _prefix(self) -> str:
        return f"TFLSPLIT_{self._table.upper()}_"

    def _known(self, key: str, place: str, problems: list[str]) -> click.Parameter | None:
        parameter = self.settings.get(key)
        if parameter is None and configuration.is_secret(key):
            problems.append(
                f"{place}: {key}: a secret does not belong here; write it to a file that only root may read and name "
                "that with password-file"
            )
        elif parameter is None:
            problems.append(f"{place}: there is no key {key!r}{configuration.nearest(key, self.settings)}")
        return parameter

    def _resolved(self, entry: configuration.Entry, parameter: click.Parameter, file: Path | None) -> Any:
        """Paths are relative to the file's folder, in its drop-ins too: a service runs in a folder of its own."""
        is_path = isinstance(parameter.type, click.Path) or (entry.key in self._paths and ":" not in str(entry.value))
        if is_path and isinstance(entry.value, str) and file is not None:
            return str(file.parent / entry.value)
        return entry.value

    def _refused(self, key: str, value: Any) -> str | None:
        check = self.checks.get(key)
        try:
            if check is not None:
                check(value)
        except errors.TflsplitError as refused:
            return str(refused)
        return None

    def _read_environment(self, found: dict[str, Set], problems: list[str]) -> None:
        by_variable = {self.variable(key): key for key in self.settings}
        for name in sorted(name for name in os.environ if name.startswith(self._prefix)):
            text, place = os.environ[name], f"environment {name}"
            if name not in by_variable:
                self._known(name.removeprefix(self._prefix).replace("_", "-").lower(), place, problems)
            elif text != "":  # which click takes for not set
                key = by_variable[name]
                if problem := _not_convertible(self.settings[key], text) or self._refused(key, text):
                    problems.append(f"{place}: {problem}")
                found[key] = Set(key, None if problem else text, place)

    def _default(self, parameter: click.Parameter) -> Any:
        default = parameter.get_default(click.Context(self), call=True)
        return default if isinstance(default, str | int | float | tuple) and default != () else None


def again(context: click.Context) -> click.Context:
    """The command line of `context` parsed anew, with what its file and the environment say by now.

    SettingsError if that is wrong; nothing has changed then.
    """
    try:
        made: click.Context = context.command.make_context(
            context.info_name, list(context.meta[_TYPED]), parent=context.parent
        )
    except click.UsageError as refused:
        raise errors.SettingsError(refused.format_message()) from refused
    return made


def has_file(context: click.Context) -> bool:
    return context.meta.get(_FILE) is not None


def changes(before: click.Context, after: click.Context) -> frozenset[str]:
    """Names of the parameters whose values differ."""
    return frozenset(name for name, value in after.params.items() if value != before.params.get(name))


def keys(command: click.Command, names: frozenset[str]) -> tuple[str, ...]:
    """As they are written in the file."""
    return tuple(sorted(_key(parameter) for parameter in command.params if parameter.name in names))


def _take(context: click.Context, _parameter: click.Parameter, file: Path | None) -> Path | None:
    command = context.command
    if file is None and not (isinstance(command, Command) and command.is_in_environment()):
        return file
    assert isinstance(command, Command)  # noqa: S101 - no other has the option
    merged = command.merged(file)
    if merged.problems:
        raise errors.ConfigurationError(merged.problems)
    if file is not None:
        context.default_map = dict(merged.from_files)
    context.meta[_FILE] = file
    return file


def _key(parameter: click.Parameter) -> str:
    return "package" if isinstance(parameter, click.Argument) else max(parameter.opts, key=len).lstrip("-")


def _wrong(parameter: click.Parameter, value: Any) -> str | None:
    """What is wrong with a value that TOML gave a type of its own."""
    if parameter.multiple:
        if not isinstance(value, list):
            return f"{value!r} is one value, expected a list: [{value!r}]"
        return next(filter(None, (_wrong_type(parameter, one) for one in value)), None)
    return _wrong_type(parameter, value)


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
        return f"{value!r}, expected {expected}"
    return _not_convertible(parameter, value if isinstance(value, bool) else str(value))


def _not_convertible(parameter: click.Parameter, value: Any) -> str | None:
    """Choices and ranges, and what a variable's text does not stand for. Not files: a flag may name another in place of
    one that only root may read, as a service's credentials are."""
    if isinstance(parameter.type, click.Path):
        return None
    values = value.split() if parameter.multiple and isinstance(value, str) else [value]
    try:
        for one in values:
            parameter.type.convert(one, parameter, None)
    except click.BadParameter as refused:
        return refused.message.rstrip(".")
    return None
