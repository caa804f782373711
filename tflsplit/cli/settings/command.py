"""Commands whose options may also stand in a configuration file and in the environment.

The keys are the command's own options, so that a new option needs no second list. Flags count before the environment,
that before drop-ins, these before the file, and the file before defaults.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from tflsplit import errors

if TYPE_CHECKING:  # an edge without a configuration file merges nothing
    from tflsplit.cli.settings.merging import Merged

# Options of how the command runs; they are no settings.
_NOT_SETTINGS = frozenset({"config", "debug", "help"})

Check = Callable[[Any], object]

# Keys of `Context.meta`: the arguments that were typed, the file of `--config`, and how many repeated tables it has.
_TYPED, _FILE, _REPEATS = (f"{__name__}.{name}" for name in ("typed", "file", "repeats"))


class Command(click.Command):
    """Takes `--config FILE`, and each option from `TFLSPLIT_<COMMAND>_<OPTION>`.

    `checks` test a setting's value beyond its type, by key; they raise an error of `tflsplit.errors`. Settings named in
    `paths` are files unless they hold a colon; so are all settings of click's type for paths. `bundled` are the
    settings that the credentials say where nobody sets them, as attributes of `broker.transport.credentials.Bundle`;
    `needed` are those of them without which it does not run.
    """

    bundled: Mapping[str, str] = {}
    needed: frozenset[str] = frozenset()
    # The table that may stand several times in its file, if one may: each is a run of the command.
    repeated: str | None = None

    def __init__(
        self, name: str | None, *, checks: Mapping[str, Check], paths: frozenset[str], **attributes: Any
    ) -> None:
        super().__init__(name, **attributes)
        self.checks = checks
        self.paths = paths
        self.params.append(
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path),
                is_eager=True,
                expose_value=False,
                callback=_take,
                metavar="FILE",
                help=f"TOML file with options of this command as keys, in the table [{name}]. On SIGHUP it is read "
                "again.",
            )
        )

    @property
    def table(self) -> str:
        """The table of the file that holds its settings."""
        return self.name or ""

    @property
    def prefix(self) -> str:
        """How the names of its environment variables begin."""
        return f"TFLSPLIT_{self.table.upper()}_"

    @property
    def settings(self) -> Mapping[str, click.Parameter]:
        """Its parameters by key: an option's long name without dashes, and `package` for the argument."""
        found = {_key(parameter): parameter for parameter in self.params}
        return {key: parameter for key, parameter in found.items() if key not in _NOT_SETTINGS}

    def variable(self, key: str) -> str:
        return f"{self.prefix}{key.replace('-', '_').upper()}"

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        for key, parameter in self.settings.items():
            parameter.envvar = self.variable(key)
        typed = list(args)
        made = super().make_context(info_name, args, parent, **extra)
        made.meta[_TYPED] = typed
        return made

    def merged(self, file: Path | None, *, root: Path = Path("/"), at: int = 0) -> "Merged":
        """See `merging.merge`, which is imported only where there is something to merge."""
        from tflsplit.cli.settings import merging

        return merging.merge(self, file, root=root, at=at)

    def each_merged(self, file: Path, *, root: Path = Path("/")) -> "tuple[Merged, ...]":
        """Those of each repeated table of the file, or the file's where it has none."""
        first = self.merged(file, root=root)
        return (first, *(self.merged(file, root=root, at=at) for at in range(1, first.repeats)))

    def problems_of_each(self, merged: "Sequence[Merged]", file: Path, *, root: Path = Path("/")) -> tuple[str, ...]:
        """`all_problems` of each, which are named where not all have them, and of all together, each once."""
        of_each = [self.all_problems(each, file, root=root) for each in merged]
        of_all = set(of_each[0]).intersection(*of_each)
        found = [
            problem if problem in of_all else problem.replace(f"{file}: ", f"{file} (stream {number}): ", 1)
            for number, problems in enumerate(of_each, start=1)
            for problem in problems
        ]
        if merged[0].repeats and not found:
            found += self.problems_together(merged, file, root=root)
        return tuple(dict.fromkeys(found))

    def problems_together(self, merged: "Sequence[Merged]", file: Path, *, root: Path = Path("/")) -> Iterable[str]:
        """What is wrong with repeated tables beside each other."""
        return ()

    def remarks(self, merged: "Sequence[Merged]", *, root: Path = Path("/")) -> Iterable[str]:
        """What to know of repeated tables that are right."""
        return ()

    def all_problems(self, merged: "Merged", file: Path, *, root: Path = Path("/")) -> tuple[str, ...]:
        """Everything wrong with the settings: wrong values, missing ones, and what cannot be used of what they name."""
        return merged.problems

    def is_in_environment(self) -> bool:
        return any(name.startswith(self.prefix) for name in os.environ)


def again(context: click.Context) -> click.Context:
    """Parses the command line of `context` once more, with its file and the environment as they are now.

    SettingsError if they are wrong; `context` stays as it is.
    """
    return parsed(context, context.obj)


def repeats(context: click.Context) -> int:
    """How many repeated tables the file has."""
    return int(context.meta.get(_REPEATS, 0))


class Fitting(Protocol):
    """What a run of several is for its command: which table is its own, and what it does not have for itself."""

    at: int

    def fit(self, given: dict[str, Any], count: int) -> None:
        """Changes the parameters; `count` is the number of tables."""


def parsed(context: click.Context, obj: "Fitting | None") -> click.Context:
    """The command line of `context` once more, for the repeated table that `obj` is `at`."""
    try:
        made: click.Context = context.command.make_context(
            context.info_name, list(context.meta[_TYPED]), parent=context.parent, obj=obj
        )
    except click.UsageError as refused:
        raise errors.SettingsError(refused.format_message()) from refused
    if obj is not None:
        obj.fit(made.params, repeats(made))
    return made


def has_file(context: click.Context) -> bool:
    return context.meta.get(_FILE) is not None


def file_of(context: click.Context) -> Path:
    """The configuration file of a context that has one."""
    return Path(context.meta[_FILE])


def changes(before: click.Context, after: click.Context) -> frozenset[str]:
    """The names of the parameters whose values differ."""
    return frozenset(name for name, value in after.params.items() if value != before.params.get(name))


def keys(command: click.Command, names: frozenset[str]) -> tuple[str, ...]:
    """The keys in the file for parameters of these `names`."""
    return tuple(sorted(_key(parameter) for parameter in command.params if parameter.name in names))


def _take(context: click.Context, _parameter: click.Parameter, file: Path | None) -> Path | None:
    command = context.command
    if file is None and not (isinstance(command, Command) and command.is_in_environment()):
        return file
    assert isinstance(command, Command)  # noqa: S101 - no other has the option
    merged = command.merged(file, at=getattr(context.obj, "at", 0))
    if merged.problems:
        raise errors.ConfigurationError(merged.problems)
    if file is not None:
        context.default_map = dict(merged.from_files)
    context.meta[_FILE] = file
    context.meta[_REPEATS] = merged.repeats
    return file


def _key(parameter: click.Parameter) -> str:
    return "package" if isinstance(parameter, click.Argument) else max(parameter.opts, key=len).lstrip("-")
