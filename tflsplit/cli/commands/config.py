"""`tflsplit config`: what a file sets for an edge or a cloud, what is wrong with it, and one to begin with."""

from pathlib import Path
from typing import Any

import click

from tflsplit import configuration, errors
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.cli.settings import checks, merging, templates
from tflsplit.cli.settings import command as settings_command

_ROLES = ("edge", "cloud")


@click.group()
def command() -> None:
    """Check a configuration file, or get one to begin with."""


@command.command(
    epilog=examples.epilog(
        "tflsplit config check /etc/tflsplit/edge.toml", "tflsplit config check /etc/tflsplit/cloud.toml"
    )
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="Print settings and problems as JSON.")
def check(file: Path, *, is_json: bool) -> None:
    """Show the settings in FILE, and what is wrong with them.

    These are the settings that `tflsplit edge --config FILE` (or `tflsplit cloud`, where FILE has the table [cloud])
    would use, each with the place it comes from. A setting in more than one place is taken from the first of these: the
    command line, the environment (TFLSPLIT_EDGE_<OPTION>), the drop-in files in the folder beside FILE (for edge.toml:
    edge.d), FILE itself. The package, source and credentials that the settings name are checked too. Exit code 1 if
    anything is wrong; each problem has a line. Of a file with [[stream]] tables, each is checked with what all have.
    """
    found_in = command_of(file)
    runs = found_in.each_merged(file)
    problems = found_in.problems_of_each(runs, file)
    remarks = tuple(found_in.remarks(runs)) if runs[0].repeats and not problems else ()
    known = [
        [found for found in checks.with_credentials(found_in, each).settings.values() if found.value is not None]
        for each in runs
    ]
    if is_json:
        settings = [{found.key: {"value": _shown(found), "from": found.place} for found in each} for each in known]
        fields = {"streams": settings} if runs[0].repeats else {"settings": settings[0]}
        screen.as_json({**fields, "problems": problems, "remarks": remarks})
    elif runs[0].from_files or not problems:
        columns = ("setting", Column("value", Kind.NOTE), Column("from", Kind.NOTE))
        for at, each in enumerate(known, start=1):
            title = f"tflsplit {found_in.table} --config {file}"
            screen.table(
                f"{title}, stream {at}" if runs[0].repeats else title, columns, [_row(one, file) for one in each]
            )
        for remark in remarks:
            screen.write(remark)
    if problems:
        raise errors.ConfigurationError(problems)


@command.command(epilog=examples.epilog("tflsplit config template cloud"))
@click.argument("role", type=click.Choice(_ROLES))
def template(role: str) -> None:
    """Print a configuration file with every setting of an edge or a cloud, each explained and at its default."""
    screen.verbatim(templates.render(settings_of(role)))


def command_of(file: Path) -> settings_command.Command:
    """The command that a file is for, by its table: an edge, unless there is only the table of a cloud."""
    found = configuration.tables(file)
    return settings_of("cloud" if "cloud" in found and "edge" not in found else "edge")


def settings_of(role: str) -> settings_command.Command:
    """`tflsplit edge` or `tflsplit cloud`, with the options that every command has."""
    root = click.get_current_context().find_root()
    group = root.command
    found = group.get_command(root, role) if isinstance(group, click.Group) else None
    assert isinstance(found, settings_command.Command)  # noqa: S101 - it is ours
    return found


def _row(found: merging.Setting, file: Path) -> tuple[str, str, str]:
    """Its place is told from the folder of `file`, whose path stands above the table."""
    value = _shown(found)
    place = found.place.removeprefix(f"{file.absolute().parent}/")
    return found.key, ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value), place


def _shown(found: merging.Setting) -> Any:
    """The value, but for the password in a camera's address: people show each other what this prints."""
    from edge_runtime.sources import words

    is_address = found.key == "source" and "://" in str(found.value) and words.is_word(str(found.value))
    return words.without_password(str(found.value)) if is_address else found.value
