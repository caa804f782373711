"""`tflsplit broker init`: makes a secured Mosquitto for a deployment."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit.cli.commands.broker import identities
from tflsplit.cli.output import examples, screen

if TYPE_CHECKING:
    from broker.deploy.ledger import Ledger


@click.command(
    "init",
    epilog=examples.epilog(
        "tflsplit broker init broker/ --deployment shop --device cam1 --device cam2 \\\n--host broker.example"
    ),
)
@identities.folder_argument
@click.option("--deployment", required=True, help="Name of the deployment; its edges and clouds have the same.")
@click.option("--device", "devices", multiple=True, help="Name of an edge device. Repeatable.")
@identities.listed_option("Names of more devices")
@click.option(
    "--cloud", "clouds", multiple=True, default=("cloud",), show_default=True, help="Name of a cloud. Repeatable."
)
@click.option(
    "--consumer",
    "consumers",
    multiple=True,
    default=("consumer",),
    show_default=True,
    help="Name of a client that reads results. Repeatable.",
)
@click.option(
    "--operator",
    "operators",
    multiple=True,
    default=("operator",),
    show_default=True,
    help="Name of a client that may push models to devices. Repeatable.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    help="Host name or IP address by which clients reach the broker. Repeatable. Default: this machine's name.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8883, show_default=True, help="TCP port of the broker, for TLS."
)
@click.option(
    "--brokers",
    "spread",
    metavar="HOST,HOST,...",
    help="Spread the deployment over several brokers: a host, or HOST:PORT, for each. DIR/brokers has a folder for "
    "each, to be carried to its machine. Default: one broker, at --host.",
)
@click.option("--password-auth", is_flag=True, help="Give clients passwords instead of certificates.")
@click.option(
    "--rabbitmq",
    "is_rabbitmq",
    is_flag=True,
    help="Write DIR/rabbitmq.json too: users and rights for `rabbitmqctl import_definitions`, anew with each change.",
)
@identities.days_option
def command(
    folder: Path,
    *,
    deployment: str,
    devices: tuple[str, ...],
    listed: Path | None,
    clouds: tuple[str, ...],
    consumers: tuple[str, ...],
    operators: tuple[str, ...],
    hosts: tuple[str, ...],
    port: int,
    spread: str | None,
    password_auth: bool,
    is_rabbitmq: bool,
    days: int,
) -> None:
    """Make the files of a secured Mosquitto broker in DIR.

    These are its configuration, certificates, access rules, a systemd unit and a Compose file. An existing DIR is never
    replaced. DIR/clients/NAME holds what the client NAME needs, for --credentials.

    A device may publish its own features, status, birth and telemetry, and read its own results, acknowledgements and
    control messages. A cloud may read features and publish answers. A consumer may read results, dead
    letters and what devices and clouds tell of themselves. An operator may read the same, and publish control messages.
    A worker (`tflsplit broker add-device --role worker`) may send parts of tensors to others and publish results, and
    read what workers tell of themselves. A guest (`--role guest`) may do only what `tflsplit broker allow` gives it, as
    a camera that publishes pictures.
    """
    from broker.deploy import folder as deployments
    from broker.deploy import ledger

    named = identities.listed_names(devices, listed)
    if not named:
        raise click.UsageError(
            "Missing option '--device': give the names of devices, or a file of them with --devices."
        )
    if spread is not None and (hosts or is_rabbitmq):
        raise click.UsageError("--brokers names the hosts of several Mosquittos: leave out --host and --rabbitmq.")
    places = _spread(spread, port) if spread is not None else [(hosts or (socket.gethostname(),), port)]
    wanted = deployments.Wanted(named, clouds, consumers, operators)
    with screen.progress("credentials", len(wanted.identities())) as step:
        made = deployments.init(
            folder,
            wanted,
            deployment=deployment,
            hosts=places[0][0],
            port=places[0][1],
            others=[(names[0], at) for names, at in places[1:]],
            proof=ledger.Proof.PASSWORD if password_auth else ledger.Proof.CERTIFICATE,
            days=days,
            is_rabbitmq=is_rabbitmq,
            step=step,
        )
    _print_brokers(folder, made)
    identities.print_folders(folder, [identity.name for identity in made.identities])


def _print_brokers(folder: Path, made: "Ledger") -> None:
    for server in made.servers:
        home = folder / server.folder
        carried = f" on its machine (carry {home} there)" if made.others else ""
        screen.write(
            f"{home}: broker of {made.deployment} at mqtts://{server.where}; start it with "
            f"`tflsplit broker run {home}`{carried}"
        )


def _spread(typed: str, port: int) -> list[tuple[tuple[str, ...], int]]:
    """The hosts and ports of several brokers."""
    from broker.transport import address

    entries = [entry.strip() for entry in typed.split(",")]
    over_tls, plain = (
        address.parse_all([entry and f"{scheme}://{entry}" for entry in entries]) for scheme in ("mqtts", "mqtt")
    )
    # One that has no port has the scheme's.
    return [
        ((one.host,), one.port if one.port == other.port else port) for one, other in zip(over_tls, plain, strict=True)
    ]
