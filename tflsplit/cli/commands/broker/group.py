"""`tflsplit broker`: runs a broker, for a first try or for a deployment, and manages who may use it."""

import os
import threading
from pathlib import Path

import click

from tflsplit.cli.commands.broker import identities, init, listing
from tflsplit.cli.output import examples, screen

_TRIAL_PORT = 1883


@click.group()
def command() -> None:
    """Run a broker, or make a secured one for a deployment."""


@command.command(epilog=examples.epilog("tflsplit broker run", "tflsplit broker run /etc/tflsplit/broker"))
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Without DIR: TCP port to listen on; 0 means any free port. Default: {_TRIAL_PORT}.",
)
@click.option(
    "--json", "is_json", is_flag=True, help="Without DIR: print the broker's address as JSON when it is ready."
)
def run(folder: Path | None, *, port: int | None, is_json: bool) -> None:
    """Run a broker, secured with DIR or open without it.

    With DIR, a folder that `tflsplit broker init` made, this process is replaced by Mosquitto with that configuration.
    Access rules that an older version wrote are written anew before.

    Without DIR a broker for a first try runs until SIGTERM: Mosquitto if it is installed, else amqtt (MQTT 3.1.1 only).
    It can be reached from this machine only, asks for no password, and forgets everything when it stops.
    """
    if folder is not None:
        if port is not None or is_json:
            raise click.UsageError(
                "--port and --json are for a run without DIR; with DIR its configuration sets the port"
            )
        from broker.deploy import layout, process

        if os.access(folder / layout.AUTHORITY / layout.LEDGER, os.R_OK):  # not where only server/ was carried
            identities.renew_rules(folder)
        process.become(folder)
    from broker.local import server

    stopped = threading.Event()
    with (
        screen.stopped_by_signals(stopped.set),
        server.run(port=_TRIAL_PORT if port is None else port) as serving,
    ):
        if is_json:
            screen.as_json({"broker": serving.kind, "url": serving.url})
        else:
            screen.write(f"{serving.kind} serves {serving.url}")
        stopped.wait()


for subcommand in (init.command, listing.command, *identities.COMMANDS):
    command.add_command(subcommand)
