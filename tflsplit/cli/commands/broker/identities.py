"""The subcommands of `tflsplit broker` that add, revoke and renew the identities of a secured broker."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from tflsplit.cli.output import examples, logs, screen

_ROLES = (
    "device",
    "cloud",
    "consumer",
    "operator",
    "worker",
)  # broker.transport.credentials has them too

folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)
days_option: Callable[[Any], Any] = click.option(
    "--days",
    type=click.IntRange(1, 7300),
    default=1825,
    show_default=True,
    help="Days until the new certificates expire.",
)


@click.command("add-device", epilog=examples.epilog("tflsplit broker add-device /etc/tflsplit/broker cam3 cam4"))
@folder_argument
@_names
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default="device",
    show_default=True,
    help="What the new names may do; see `tflsplit broker init --help`.",
)
@days_option
def add_device(folder: Path, *, names: tuple[str, ...], role: str, days: int) -> None:
    """Let more devices or other clients use the broker.

    DIR is a folder that `tflsplit broker init` made. Each NAME gets a folder DIR/clients/NAME, for --credentials.
    """
    from broker.deploy import folder as deployments
    from broker.transport import credentials

    renew_rules(folder)
    deployments.add(folder, names, role=credentials.Role(role), days=days)
    print_folders(folder, names)
    _reload(folder)


@click.command(epilog=examples.epilog("tflsplit broker revoke /etc/tflsplit/broker cam3"))
@folder_argument
@_names
def revoke(folder: Path, *, names: tuple[str, ...]) -> None:
    """Refuse clients from now on, for example a lost one.

    The certificate of each NAME is revoked, and its access rules and the folder DIR/clients/NAME are removed.
    """
    from broker.deploy import folder as deployments

    renew_rules(folder)
    deployments.revoke(folder, names)
    screen.write(f"revoked: {', '.join(names)}")
    _reload(folder)


@click.command(
    epilog=examples.epilog(
        "tflsplit broker rotate /etc/tflsplit/broker cam1 cam2 --keep-old",
        "tflsplit broker rotate /etc/tflsplit/broker --server",
    )
)
@folder_argument
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--server", "is_server", is_flag=True, help="Also renew the key and certificate of the broker itself.")
@click.option(
    "--keep-old", "keeps_old", is_flag=True, help="The old certificate stays valid too, until the next rotation."
)
@days_option
def rotate(folder: Path, *, names: tuple[str, ...], is_server: bool, keeps_old: bool, days: int) -> None:
    """Renew keys and certificates, or passwords.

    The old ones are revoked. Mosquitto checks a certificate only when a client connects, so after a theft restart the
    broker as well.
    """
    from broker.deploy import folder as deployments

    if not names and not is_server:
        raise click.UsageError("nothing to rotate: give names, or --server")
    renew_rules(folder)
    if names:
        deployments.rotate(folder, names, keeps_old=keeps_old, days=days)
        print_folders(folder, names)
    if is_server:
        deployments.rotate_server(folder, days=days)
        screen.write("the broker has a new certificate")
    _reload(folder)


COMMANDS: Sequence[click.Command] = (add_device, revoke, rotate)


def renew_rules(folder: Path) -> None:
    """Says so if it was needed."""
    from broker.deploy import folder as deployments

    if deployments.renew_rules(folder):
        screen.write(f"{folder}: the access rules were not those of this version; they are written anew")


def print_folders(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        screen.write(f"copy {folder / 'clients' / name} to {name}, for --credentials")


def _reload(folder: Path) -> None:
    from broker.deploy import process

    if process.reload(folder):
        screen.write("the broker reads its files again")
    else:
        logs.warning("no broker of this folder runs here: if one runs elsewhere, copy server/ to it and send it SIGHUP")
