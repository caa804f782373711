"""`tflsplit accelerator serve`: one process owns an accelerator that several edges use."""

from pathlib import Path

import click

from tflsplit import errors
from tflsplit.cli.output import examples, screen

_MODE = 0o777


def _mode(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 < mode <= _MODE:
        raise click.BadParameter("give it as for chmod, as 660")
    return mode


@click.group()
def command() -> None:
    """Share one accelerator between several edges on a machine."""


@command.command(
    epilog=examples.epilog(
        "tflsplit accelerator serve /run/tflsplit/coral.sock",
        "tflsplit accelerator serve --accelerator delegate:/usr/lib/npu.so npu.sock",
    )
)
@click.argument("socket", type=click.Path(path_type=Path))
@click.option(
    "--accelerator",
    "name",
    default="coral",
    show_default=True,
    metavar="NAME",
    help="What is owned: coral, coral:usb:0, coral:pci:0 or delegate:PATH?option=value.",
)
@click.option(
    "--mode",
    callback=_mode,
    default="660",
    show_default=True,
    help="File mode of the socket: whoever may write to it may use the accelerator, and hand models to its library.",
)
@click.option(
    "--most-users",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="Most edges at a time.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="For what is left to the CPU."
)
def serve(socket: Path, *, name: str, mode: int, most_users: int, threads: int) -> None:
    """Own an accelerator and run the heads of several edges on it, until SIGTERM.

    SOCKET is made here. Edges use it with `--accelerator served:SOCKET`, and have their turns by the time that they
    took so far: none waits for another's backlog. With `?weight=2` an edge gets twice as much as one without. With
    `--fallback cpu` an edge goes on while the accelerator's owner is away.
    """
    from edge_runtime.accelerators import choice
    from edge_runtime.accelerators.coral import Coral
    from edge_runtime.accelerators.delegate import Delegate
    from edge_runtime.accelerators.owner import Owner

    device = choice.parse(name, threads=threads)
    if not isinstance(device, Coral | Delegate):
        raise errors.SettingsError(
            f"accelerator {name}: only coral and delegate:PATH are served, the CPU is everybody's"
        )
    owner = Owner(device, socket, mode=mode, most_users=most_users)
    with screen.stopped_by_signals(owner.stop):
        owner.serve()
