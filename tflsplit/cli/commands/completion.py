"""`tflsplit completion`: the script that lets a shell complete commands, options, and the cuts of a package."""

import click
from click import shell_completion

from tflsplit.cli.output import examples, screen

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=examples.epilog("tflsplit completion bash", "tflsplit completion fish"))
@click.argument("shell", type=click.Choice(_SHELLS))
def command(shell: str) -> None:
    """Let SHELL complete commands, options and cuts.

    This prints what it reads: write that where it looks, which is ~/.local/share/bash-completion/completions/tflsplit
    for bash, _tflsplit in a folder of $fpath for zsh, ~/.config/fish/completions/tflsplit.fish for fish.
    """
    from tflsplit.cli import main

    made = shell_completion.get_completion_class(shell)
    assert made is not None  # noqa: S101 - click knows these shells
    screen.verbatim(_source(made(main.cli, {}, "tflsplit", main.COMPLETE)))


def _source(script: shell_completion.ShellComplete) -> str:
    """Without a look at the version of the shell that is installed here: it is for the one that reads it."""
    return script.source_template % script.source_vars()
