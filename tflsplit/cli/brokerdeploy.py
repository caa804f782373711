"""The subcommands of `tflsplit broker` that make and change a secured deployment."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

_ROLES = ("device", "cloud", "consumer")  # of broker.deploy.ledger, which is imported when a command runs

_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_names = click.argument("names", metavar="NAME...", nargs=-1, required=True)
_days: Callable[[Any], Any] = click.option(
    "--days", type=click.IntRange(1, 7300), default=1825, show_default=True, help="Days that certificates are good for."
)


@click.command()
@_folder
@click.option("--deployment", required=True, help="Name that the edges and clouds of one package share.")
@click.option("--device", "devices", multiple=True, required=True, help="Name of an edge device; give one or more.")
@click.option("--cloud", "clouds", multiple=True, default=("cloud",), show_default=True, help="Name of a cloud.")
@click.option(
    "--consumer", "consumers", multiple=True, default=("consumer",), show_default=True, help="Name of a reader."
)
@click.option("--host", "hosts", multiple=True, help="Name or IP address of the broker. Default: this machine's name.")
@click.option("--port", type=click.IntRange(1, 65535), default=8883, show_default=True, help="TCP port, for TLS.")
@click.option("--password-auth", is_flag=True, help="Clients have passwords instead of certificates.")
@_days
def init(
    folder: Path,
    *,
    deployment: str,
    devices: tuple[str, ...],
    clouds: tuple[str, ...],
    consumers: tuple[str, ...],
    hosts: tuple[str, ...],
    port: int,
    password_auth: bool,
    days: int,
) -> None:
    """Make the folder of a secured Mosquitto: configuration, certificates, access rules, systemd unit, compose file.

    A device may write its own features, status, birth and telemetry and read its own results and control; a cloud
    reads features and writes results and control; a consumer reads results. Each finds what it needs for --credentials
    in DIR/clients/NAME. An existing DIR is never replaced.

    \b
    Python: broker.deploy.folder.init(dir, wanted, deployment=..., hosts=...)
    """
    from broker.deploy import folder as deployments
    from broker.deploy import ledger

    made = deployments.init(
        folder,
        deployments.Wanted(devices, clouds, consumers),
        deployment=deployment,
        hosts=hosts or (socket.gethostname(),),
        port=port,
        proof=ledger.Proof.PASSWORD if password_auth else ledger.Proof.CERTIFICATE,
        days=days,
    )
    click.echo(
        f"{folder}: broker of {deployment} at mqtts://{made.where}; start it with `tflsplit broker run {folder}`"
    )
    _say_what_to_carry(folder, [identity.name for identity in made.identities])


@click.command("add-device")
@_folder
@_names
@click.option("--role", type=click.Choice(_ROLES), default="device", show_default=True, help="What it may do.")
@_days
def add_device(folder: Path, *, names: tuple[str, ...], role: str, days: int) -> None:
    """Let further devices in, or clouds, or consumers.

    \b
    Python: broker.deploy.folder.add(dir, names)
    """
    from broker.deploy import folder as deployments
    from broker.deploy import ledger

    deployments.add(folder, names, role=ledger.Role(role), days=days)
    _say_what_to_carry(folder, names)
    _reload(folder)


@click.command()
@_folder
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
@_folder
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--server", "is_server", is_flag=True, help="The broker's own key and certificate too, or alone.")
@click.option("--keep-old", "keeps_old", is_flag=True, help="The old certificate stays good until the next rotation.")
@_days
def rotate(folder: Path, *, names: tuple[str, ...], is_server: bool, keeps_old: bool, days: int) -> None:
    """Give identities new keys and certificates (or passwords); the old ones are revoked.

    \b
    Python: broker.deploy.folder.rotate(dir, names), broker.deploy.folder.rotate_server(dir)
    """
    from broker.deploy import folder as deployments

    if not names and not is_server:
        raise click.UsageError("nothing to rotate: give names, or --server")
    if names:
        deployments.rotate(folder, names, keeps_old=keeps_old, days=days)
        _say_what_to_carry(folder, names)
    if is_server:
        deployments.rotate_server(folder, days=days)
        click.echo("the broker has a new certificate")
    _reload(folder)


COMMANDS: Sequence[click.Command] = (init, add_device, revoke, rotate)


def _say_what_to_carry(folder: Path, names: Sequence[str]) -> None:
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
