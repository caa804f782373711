"""The `tflsplit` command: imports the file of a subcommand when it is called, and prints our errors in one line.

The file of a command parses, calls one library function and prints the result. It is imported only when its command
runs, so that an edge starts without the libraries of a converter.
"""

import importlib
import sys
from typing import NoReturn

import click

from tflsplit import errors, extras
from tflsplit.cli.output import examples, logs

# As `tflsplit --help` shows them.
GROUPS = {
    "Make a package": ("convert", "compile", "slice", "bundle"),
    "Look at a package": ("inspect", "verify"),
    "Measure and plan": ("profile", "probe", "plan", "replay"),
    "Run": ("demo", "edge", "cloud", "results", "broker"),
    "Operate": ("doctor", "config", "install-service", "keygen", "push", "trace"),
}
COMMANDS = tuple(name for names in GROUPS.values() for name in names)

# Commands with a folder of their own for their subcommands.
_FILES = {"broker": "broker.group"}


class LazyGroup(click.Group):
    """Subcommand NAME is `tflsplit.cli.commands.NAME.command`, to which the options for logs are added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        file = _FILES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = importlib.import_module(f"tflsplit.cli.commands.{file}").command
        _add_log_options(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, COMMANDS))
        columns = formatter.width - longest - 6  # click's margins
        for title, names in GROUPS.items():
            commands = ((name.ljust(longest), self.get_command(ctx, name)) for name in names)
            with formatter.section(title):
                formatter.write_dl([(name, found.get_short_help_str(columns)) for name, found in commands if found])


def _add_log_options(command: click.Command) -> None:
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            _add_log_options(subcommand)
    elif not any(parameter.name == "debug" for parameter in command.params):
        logs.add_options(command)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples.epilog(
        "tflsplit demo", "tflsplit convert model.h5 --calibration pictures/", "tflsplit edge --help"
    ),
)
@click.version_option(package_name="tflsplit")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Cut a neural network in two, prove that the cut changes nothing, and run it between edge and cloud.

    Each command explains its options with `tflsplit COMMAND --help`. To see everything at work, begin with
    `tflsplit demo`.
    """
    logs.set_up()
    _Root.context = ctx


# Modules that may be missing where only another extra is installed: the library of each, and the extra that brings it.
_EXTRAS = {
    "tensorflow": ("tensorflow", "convert"),
    "keras": ("keras", "convert"),
    "tf_keras": ("tf-keras", "convert"),
    "h5py": ("h5py", "convert"),
    "rich": ("rich", "convert"),
    "paho": ("paho-mqtt", "edge"),
    "zstandard": ("zstandard", "edge"),
    "PIL": ("Pillow", "edge"),
}


class _Root:
    """The running command's root context, for the error boundary below; click drops it when an exception passes."""

    context: click.Context | None = None


def main() -> None:
    """Exit code 0: done. 1: refused, with one line on stderr for each reason. 2: wrong usage."""
    try:
        cli()
    except errors.ConfigurationError as refused:
        _refuse(refused, *refused.problems)
    except errors.TflsplitError as refused:
        _refuse(refused, str(refused))
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name not in _EXTRAS:
            raise
        _refuse(missing, extras.need("this command", *_EXTRAS[name]))
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has gone; there is nobody left to tell.
        sys.stderr.close()
        sys.exit(1)


def _refuse(cause: Exception, *reasons: str) -> NoReturn:
    if _Root.context is not None and _Root.context.meta.get("debug"):
        raise cause
    for words in reasons:
        logs.refusal(words)
    sys.exit(1)


if __name__ == "__main__":
    main()
