"""`tflsplit config`: the settings that a configuration file gives an edge, and what is wrong with them."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind
from tflsplit.cli.settings import command as settings_command
from tflsplit.cli.settings import edge_checks, merging


@click.group()
def command() -> None:
    """Check the configuration file of an edge."""


@command.command(epilog=examples.epilog("tflsplit config check /etc/tflsplit/edge.toml"))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="Print settings and problems as JSON.")
def check(file: Path, *, is_json: bool) -> None:
    """Show the settings in FILE, and what is wrong with them.

    These are the settings that `tflsplit edge --config FILE` would use, each with the place it comes from. A setting in
    more than one place is taken from the first of these: the command line, the environment (TFLSPLIT_EDGE_<OPTION>),
    the drop-in files in the folder beside FILE (for edge.toml: edge.d), FILE itself. The package, source and
    credentials that the settings name are checked too. Exit code 1 if anything is wrong; each problem has a line.
    """
    edge = edge_command()
    merged = edge.merged(file)
    problems = edge_checks.all_problems(edge, merged, file)
    known = [found for found in edge_checks.with_credentials(merged).settings.values() if found.value is not None]
    if is_json:
        screen.as_json(
            {
                "settings": {found.key: {"value": found.value, "from": found.place} for found in known},
                "problems": problems,
            }
        )
    elif merged.from_files or not problems:
        columns = ("setting", Column("value", Kind.NOTE), Column("from", Kind.NOTE))
        screen.table(f"tflsplit edge --config {file}", columns, [_row(found) for found in known])
    if problems:
        raise errors.ConfigurationError(problems)


def edge_command() -> settings_command.Command:
    """`tflsplit edge`, with the options that every command has."""
    root = click.get_current_context().find_root()
    group = root.command
    found = group.get_command(root, "edge") if isinstance(group, click.Group) else None
    assert isinstance(found, settings_command.Command)  # noqa: S101 - it is ours
    return found


def _row(found: merging.Setting) -> tuple[str, str, str]:
    return found.key, str(found.value), found.place
