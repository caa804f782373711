"""The `tflsplit` command: imports the file of a subcommand when it is called, and prints our errors in one line.

The file of a command parses, calls one library function and prints the result. It is imported only when its command
runs, so that an edge starts without the libraries of a converter.
"""

import errno
import gc
import importlib
import os
import re
import sys

import click
from click import shell_completion

from tflsplit import errors, extras, text
from tflsplit.cli import interrupts, paths
from tflsplit.cli.options import units
from tflsplit.cli.output import examples, logs, streams

# As `tflsplit --help` shows them, which imports no command: the first sentence of each.
GROUPS = {
    "Make a package": {
        "convert": "Convert a model to int8 and cut it into heads and tails.",
        "compile": "Compile the heads of a package for the Edge TPU.",
        "slice": "Write head and tail of one cut as .tflite files.",
        "bundle": "Copy the part of a package that one machine needs.",
    },
    "Look at a package": {
        "inspect": "Show the cuts of a package or a model.",
        "verify": "Prove that cutting the model changes no result.",
        "predict": "Show what the package answers to each INPUT.",
        "evaluate": "Count right answers on DATA, whose truth is known.",
    },
    "Measure and plan": {
        "profile": "Measure how long each cut takes on this machine.",
        "probe": "Measure the network link through a broker.",
        "plan": "Choose the best cut from profiles and a link.",
        "replay": "Run cuts on this machine and check the predictions.",
        "simulate": "Judge a moving cut over a recorded link.",
        "distribute": "Share one model over several machines.",
        "emulate": "Run a shared model on emulated machines.",
        "run-chain": "Try a shared model or a chain on this machine.",
    },
    "Run": {
        "demo": "Run a complete example on this machine.",
        "init": "Begin a deployment: package, broker, settings.",
        "edge": "Run the head on inputs and send its output to the cloud.",
        "cloud": "Run the tails for the frames of edges, publish results.",
        "worker": "Run one machine's share of a model.",
        "results": "Print each result of a deployment as a line of JSON.",
        "watch": "Show what runs in a deployment, live.",
        "accelerator": "Share one accelerator between several edges on a machine.",
        "broker": "Run a broker, or make a secured one for a deployment.",
    },
    "Operate": {
        "fleet": "List devices: who is online, on which model.",
        "doctor": "Check what this machine has and lacks.",
        "config": "Check a configuration file, or get one to begin with.",
        "install-service": "Install an edge or a cloud as a systemd service.",
        "keygen": "Make the key that signs models for devices.",
        "push": "Install another model on edge devices while they run.",
        "rollout": "Install another model on many devices, in waves.",
        "trace": "Show which step takes the time of a frame.",
        "completion": "Let SHELL complete commands, options and cuts.",
    },
}
COMMANDS = tuple(name for group in GROUPS.values() for name in group)

# Commands in a folder of their own: with their subcommands, or with others of their kind.
_FILES = {
    "broker": "broker.group",
    "distribute": "sharing.distribute",
    "emulate": "sharing.emulate",
    "evaluate": "seeing.evaluate",
    "predict": "seeing.predict",
    "rollout": "rollout.group",
    "run-chain": "sharing.run_chain",
    "worker": "sharing.worker",
}


class LazyGroup(click.Group):
    """Subcommand NAME is `tflsplit.cli.commands.NAME.command`, to which is added what every command has."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        file = _FILES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = importlib.import_module(f"tflsplit.cli.commands.{file}").command
        _complete(command)
        gc.freeze()
        gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        longest = max(map(len, COMMANDS))
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(longest), summary) for name, summary in group.items()])


def _complete(command: click.Command) -> None:
    """Adds what every command has alike."""
    units.name_numbers(command)
    paths.begin_at_home(command)
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            _complete(subcommand)
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
def cli() -> None:
    """Cut a neural network in two, prove that the cut changes nothing, and run it between edge and cloud.

    Each command explains its options with `tflsplit COMMAND --help`. To see everything at work, begin with
    `tflsplit demo`.
    """


COMPLETE = "_TFLSPLIT_COMPLETE"  # as click names it


def main() -> None:
    """Exit code 0: done. 1: refused, with one line on stderr for each reason. 2: wrong usage. 130: Ctrl-C. 141: whoever
    read the output is gone."""
    streams.set_up()
    logs.set_up(is_json=logs.asks_for_json(sys.argv))
    try:
        with interrupts.raised():
            code = _run(sys.argv[1:])
            sys.stdout.flush()
    except KeyboardInterrupt:
        logs.refusal("interrupted")
        code = interrupts.CODE
    except OSError as cause:
        if not streams.is_broken(cause):
            raise
        code = _without_stdout(cause)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code of a command line."""
    if instruction := os.environ.get(COMPLETE):
        return shell_completion.shell_complete(cli, {}, "tflsplit", COMPLETE, instruction)
    context = None
    try:
        with cli.make_context("tflsplit", arguments) as context:
            cli.invoke(context)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as wrong:
        shown = _with_hint(wrong) if isinstance(wrong, click.UsageError) else wrong
        logs.refusal(shown.format_message()) if logs.is_json() else shown.show()
        return wrong.exit_code
    except (errors.TflsplitError, ModuleNotFoundError, OSError) as refused:
        reasons = _reasons(refused)
        if not reasons or (context is not None and context.meta.get("debug")):
            raise
        for reason in reasons:
            logs.refusal(reason)
        return 1
    return 0


def _with_hint(wrong: click.UsageError) -> click.UsageError:
    """Names the option that takes a word that stands without one, or a command that is like an unknown one."""
    hint = ""
    if (unknown := re.fullmatch(r"No such command '(\S+)'\.", wrong.format_message())) is not None:
        hint = " or ".join(text.alike(unknown[1], COMMANDS))
    elif (extra := re.search(r"unexpected extra argument \((\S+)\)", wrong.message)) and wrong.ctx is not None:
        hint = " or ".join(
            f"{option.opts[0]} {extra[1]}"
            for option in wrong.ctx.command.params
            if isinstance(option.type, click.Choice) and extra[1] in option.type.choices
        )
    return click.UsageError(f"{wrong.format_message()} Did you mean {hint}?", wrong.ctx) if hint else wrong


def _reasons(refused: Exception) -> tuple[str, ...]:
    """What to print for an error; nothing for one that is a bug."""
    if isinstance(refused, errors.ConfigurationError):
        return refused.problems
    if isinstance(refused, ModuleNotFoundError):
        module = (refused.name or "").partition(".")[0]
        return (extras.need("this command", module),) if module in extras.MODULES else ()
    if isinstance(refused, OSError):
        return _file_reasons(refused)
    return (str(refused),)


def _file_reasons(refused: OSError) -> tuple[str, ...]:
    """Of an error that names a file: it is of another user, its name is too long, its disk fails."""
    if refused.filename is None or refused.strerror is None:
        return ()
    rights = "; run this as a user who may, or change its rights" if isinstance(refused, PermissionError) else ""
    return (f"{text.printable(os.fsdecode(refused.filename))}: {refused.strerror}{rights}",)


def _without_stdout(cause: OSError) -> int:
    streams.discard_stdout()
    if cause.errno == errno.EPIPE:
        return 141  # as a shell sees a program that SIGPIPE has ended
    logs.refusal(f"stdout: cannot be written ({cause.strerror})")
    return 1


if __name__ == "__main__":
    main()
