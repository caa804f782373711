"""`tflsplit broker`: a broker for a first try."""

import threading

import click

from tflsplit.cli import output


@click.group()
def command() -> None:
    """Run a broker."""


@command.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=1883,
    show_default=True,
    help="TCP port on this machine; 0 picks a free one.",
)
@click.option("--json", "is_json", is_flag=True, help="Print the broker's address as JSON once it answers.")
def run(*, port: int, is_json: bool) -> None:
    """Start a broker on this machine's loopback address and serve until SIGTERM.

    Mosquitto where it is installed, else amqtt (MQTT 3.1.1 only). It asks nobody for a password and forgets everything
    when it stops: for trying things, not for production.

    \b
    Python: broker.embedded.run()
    """
    from broker import embedded

    stopped = threading.Event()
    with output.stopped_by_signals(stopped.set), embedded.run(port=port) as serving:
        if is_json:
            output.as_json({"broker": serving.kind, "url": serving.url})
        else:
            click.echo(f"{serving.kind} serves {serving.url}")
        stopped.wait()
