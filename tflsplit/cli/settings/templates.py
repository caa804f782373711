"""A configuration file to begin with: every setting of a command, explained by its own help."""

import textwrap
from collections.abc import Iterator

import click

from tflsplit.cli.settings.command import Command

_WIDTH = 100
# What each of these has to say is of this deployment; they come first, and stand without a comment sign.
_FIRST = {
    "package": '"/srv/tflsplit/{role}.tflsplit"',
    "credentials": '"credentials"',
    "source": '"camera:0"',
}

_REPEATED = """\
# Several cameras or models in one process: what they have alike stands above, and each has such a table, with its own
# device or credentials, and whatever else is its own.
#     [[{table}]]
#     credentials = "clients/door"
#     source = "rtsp://door.local/1"
"""


def render(command: Command) -> str:
    """TOML. What has to be said is said, as an example; all else is commented out."""
    role, settings = command.table, command.settings
    lines = [
        f"# Settings of `tflsplit {role}`. Change what follows, take # away where you set more, and:",
        f"#     tflsplit config check /etc/tflsplit/{role}.toml",
        f"#     sudo tflsplit install-service --config /etc/tflsplit/{role}.toml",
        "# Relative paths are beside this file.",
        f"[{role}]",
    ]
    for key in (*(key for key in _FIRST if key in settings), *(key for key in settings if key not in _FIRST)):
        lines += ["", *_explained(settings[key])]
        if key in _FIRST:
            example = _FIRST[key].format(role=role)
            lines.append(f"{key} = {f'[{example}]' if settings[key].nargs == -1 else example}")
        else:
            lines.append(f"# {key} = {_example(settings[key])}")
    if command.repeated:
        lines += ["", *_REPEATED.format(table=command.repeated).splitlines()]
    return "\n".join(lines) + "\n"


def _explained(parameter: click.Parameter) -> Iterator[str]:
    words = getattr(parameter, "help", None) or "Path of the package; a plan names it as well."
    yield from (f"# {line}" for line in textwrap.wrap(words, _WIDTH - 2))


def _example(parameter: click.Parameter) -> str:
    """A value of the kind that the setting takes; its default where it has one."""
    default = parameter.get_default(click.Context(click.Command(None)), call=True)
    if getattr(parameter, "is_flag", False):
        return "true"
    if isinstance(default, bool | int | float) and not parameter.multiple:
        return str(default).lower()
    if isinstance(parameter.type, click.Choice):
        shown = f'"{default if isinstance(default, str) else parameter.type.choices[0]}"'
    elif isinstance(default, str):
        shown = f'"{default}"'
    elif isinstance(parameter.type, click.IntRange | click.FloatRange) or parameter.type.name in ("integer", "float"):
        shown = "1"
    else:
        shown = f'"{(parameter.metavar or parameter.name or "").upper()}"'
    return f"[{shown}]" if parameter.multiple else shown
