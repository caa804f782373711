"""`tflsplit broker`: a broker for a first try, and a secured one for a deployment."""

import threading
from pathlib import Path

import click

from tflsplit.cli.commands.broker import identities, init
from tflsplit.cli.output import screen

_TRIAL_PORT = 1883


@click.group()
def command() -> None:
    """Run a broker, for a first try or for a deployment, and say who may do what on it."""


@command.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Without DIR: TCP port on this machine; 0 picks a free one. Default: {_TRIAL_PORT}.",
)
@click.option("--json", "is_json", is_flag=True, help="Without DIR: print the address as JSON once it answers.")
def run(folder: Path | None, *, port: int | None, is_json: bool) -> None:
    """Run the broker of a deployment that `tflsplit broker init` made, or one for a first try.

    With DIR this process becomes Mosquitto, and logs and ends as Mosquitto does. Without DIR a broker serves this
    machine's loopback address until SIGTERM: Mosquitto where it is installed, else amqtt (MQTT 3.1.1 only). That one
    asks nobody for a password and forgets everything when it stops.

    \b
    Python: broker.deploy.process.become(dir), broker.local.server.run()
    """
    if folder is not None:
        if port is not None or is_json:
            raise click.UsageError("--port and --json are for a run without DIR, whose configuration says the port")
        from broker.deploy import process

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
            click.echo(f"{serving.kind} serves {serving.url}")
        stopped.wait()


for subcommand in (init.command, *identities.COMMANDS):
    command.add_command(subcommand)
