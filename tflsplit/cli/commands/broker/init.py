"""`tflsplit broker init`: makes a secured Mosquitto for a deployment."""

import socket
from pathlib import Path

import click

from tflsplit.cli.commands.broker import identities
from tflsplit.cli.output import examples, screen


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
    wanted = deployments.Wanted(named, clouds, consumers, operators)
    with screen.progress("credentials", len(wanted.identities())) as step:
        made = deployments.init(
            folder,
            wanted,
            deployment=deployment,
            hosts=hosts or (socket.gethostname(),),
            port=port,
            proof=ledger.Proof.PASSWORD if password_auth else ledger.Proof.CERTIFICATE,
            days=days,
            is_rabbitmq=is_rabbitmq,
            step=step,
        )
    screen.write(
        f"{folder}: broker of {deployment} at mqtts://{made.where}; start it with `tflsplit broker run {folder}`"
    )
    identities.print_folders(folder, [identity.name for identity in made.identities])
