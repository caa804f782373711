"""`tflsplit rollout`: another model for many devices, in waves, with a state on disk."""

import click

from tflsplit.cli.commands.rollout import execution, steering


@click.group()
def command() -> None:
    """Install another model on many devices, in waves.

    `run` does it, and goes on with what it has left when it is started again. The others look at its state or steer
    it, from another terminal or while it does not run.
    """


for subcommand in (execution.command, *steering.COMMANDS):
    command.add_command(subcommand)
