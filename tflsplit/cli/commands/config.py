"""`tflsplit config`: what a configuration comes to, and what is wrong with it."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.cli.output import screen
from tflsplit.cli.settings import command as settings_command
from tflsplit.cli.settings import edge_checks, merging


@click.group()
def command() -> None:
    """Check the configuration of an edge."""


@command.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "is_json", is_flag=True, help="Print settings and problems as JSON.")
def check(file: Path, *, is_json: bool) -> None:
    """Print what `tflsplit edge --config FILE` would run with, and where each value comes from.

    Flags count before the environment (TFLSPLIT_EDGE_<OPTION>), that before the drop-ins (FILE without .toml, and .d),
    these before FILE. Looks at what the settings name, too. Exit code 1 if anything is wrong; each problem has a line.

    \b
    Python: tflsplit.configuration.read(file, "edge")
    """
    edge = edge_command()
    merged = edge.merged(file)
    problems = edge_checks.all_problems(edge, merged, file)
    known = [found for found in merged.settings.values() if found.value is not None]
    if is_json:
        screen.as_json(
            {
                "settings": {found.key: {"value": found.value, "from": found.place} for found in known},
                "problems": problems,
            }
        )
    elif merged.from_files or not problems:
        screen.table(f"tflsplit edge --config {file}", ("setting", "value", "from"), [_row(found) for found in known])
    if problems:
        raise errors.ConfigurationError(problems)


def edge_command() -> settings_command.Command:
    """With the options that every command has."""
    root = click.get_current_context().find_root()
    group = root.command
    found = group.get_command(root, "edge") if isinstance(group, click.Group) else None
    assert isinstance(found, settings_command.Command)  # noqa: S101 - it is ours
    return found


def _row(found: merging.Setting) -> tuple[str, str, str]:
    return found.key, str(found.value), found.place
