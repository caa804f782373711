"""`tflsplit broker init`: a secured Mosquitto for a deployment."""

import socket
from pathlib import Path

import click

from tflsplit.cli.commands.broker import identities


@click.command("init")
@identities.folder_argument
@click.option("--deployment", required=True, help="Name that the edges and clouds of one package share.")
@click.option("--device", "devices", multiple=True, required=True, help="Name of an edge device; give one or more.")
@click.option("--cloud", "clouds", multiple=True, default=("cloud",), show_default=True, help="Name of a cloud.")
@click.option(
    "--consumer", "consumers", multiple=True, default=("consumer",), show_default=True, help="Name of a reader."
)
@click.option(
    "--operator", "operators", multiple=True, default=("operator",), show_default=True, help="Who may push models."
)
@click.option("--host", "hosts", multiple=True, help="Name or IP address of the broker. Default: this machine's name.")
@click.option("--port", type=click.IntRange(1, 65535), default=8883, show_default=True, help="TCP port, for TLS.")
@click.option("--password-auth", is_flag=True, help="Clients have passwords instead of certificates.")
@identities.days_option
def command(
    folder: Path,
    *,
    deployment: str,
    devices: tuple[str, ...],
    clouds: tuple[str, ...],
    consumers: tuple[str, ...],
    operators: tuple[str, ...],
    hosts: tuple[str, ...],
    port: int,
    password_auth: bool,
    days: int,
) -> None:
    """Make the folder of a secured Mosquitto: configuration, certificates, access rules, systemd unit, compose file.

    A device may write its own features, status, birth and telemetry and read its own results, acknowledgements and
    control; a cloud reads features and writes the answers; a consumer reads results and dead letters; an operator
    writes control. Each finds what it needs for --credentials
    in DIR/clients/NAME. An existing DIR is never replaced.

    \b
    Python: broker.deploy.folder.init(dir, wanted, deployment=..., hosts=...)
    """
    from broker.deploy import folder as deployments
    from broker.deploy import ledger

    made = deployments.init(
        folder,
        deployments.Wanted(devices, clouds, consumers, operators),
        deployment=deployment,
        hosts=hosts or (socket.gethostname(),),
        port=port,
        proof=ledger.Proof.PASSWORD if password_auth else ledger.Proof.CERTIFICATE,
        days=days,
    )
    click.echo(
        f"{folder}: broker of {deployment} at mqtts://{made.where}; start it with `tflsplit broker run {folder}`"
    )
    identities.say_what_to_carry(folder, [identity.name for identity in made.identities])
