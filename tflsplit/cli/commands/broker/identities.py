"""The subcommands of `tflsplit broker` that change a secured deployment."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

_ROLES = ("device", "cloud", "consumer", "operator")  # of broker.deploy.ledger, which is imported when a command runs

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)
days_option: Callable[[Any], Any] = click.option(
    "--days", type=click.IntRange(1, 7300), default=1825, show_default=True, help="Days that certificates are good for."
)


@click.command("add-device")
@folder_argument
@_names
@click.option("--role", type=click.Choice(_ROLES), default="device", show_default=True, help="What it may do.")
@days_option
def add_device(folder: Path, *, names: tuple[str, ...], role: str, days: int) -> None:
    """Let further devices in, or clouds, consumers, operators.

    \b
    Python: broker.deploy.folder.add(dir, names)
    """
    from broker.deploy import folder as deployments
    from broker.deploy import ledger

    deployments.add(folder, names, role=ledger.Role(role), days=days)
    say_what_to_carry(folder, names)
    _reload(folder)


@click.command()
@folder_argument
@_names
def revoke(folder: Path, *, names: tuple[str, ...]) -> None:
    """Shut identities out for good: their certificates are revoked, their rules and DIR/clients/NAME are removed.

    \b
    Python: broker.deploy.folder.revoke(dir, names)
    """
    from broker.deploy import folder as deployments

    deployments.revoke(folder, names)
    click.echo(f"revoked: {', '.join(names)}")
    _reload(folder)


@click.command()
@folder_argument
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--server", "is_server", is_flag=True, help="The broker's own key and certificate too, or alone.")
@click.option("--keep-old", "keeps_old", is_flag=True, help="The old certificate stays good until the next rotation.")
@days_option
def rotate(folder: Path, *, names: tuple[str, ...], is_server: bool, keeps_old: bool, days: int) -> None:
    """Give identities new keys and certificates (or passwords); the old ones are revoked.

    Mosquitto looks at a certificate when a connection begins: if a key was stolen, restart the broker afterwards.

    \b
    Python: broker.deploy.folder.rotate(dir, names), broker.deploy.folder.rotate_server(dir)
    """
    from broker.deploy import folder as deployments

    if not names and not is_server:
        raise click.UsageError("nothing to rotate: give names, or --server")
    if names:
        deployments.rotate(folder, names, keeps_old=keeps_old, days=days)
        say_what_to_carry(folder, names)
    if is_server:
        deployments.rotate_server(folder, days=days)
        click.echo("the broker has a new certificate")
    _reload(folder)


COMMANDS: Sequence[click.Command] = (add_device, revoke, rotate)


def say_what_to_carry(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        click.echo(f"carry {folder / 'clients' / name} to {name}, for --credentials")


def _reload(folder: Path) -> None:
    from broker.deploy import process

    if process.reload(folder):
        click.echo("the broker was told to read its files again")
    else:
        click.echo(
            "no broker of this folder runs here: if one runs elsewhere, carry server/ to it and send it SIGHUP",
            err=True,
        )
