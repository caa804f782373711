"""`tflsplit results`: what the clouds of a deployment answer, for programs and people."""

import logging

import click

from tflsplit.cli.options import connection
from tflsplit.cli.output import screen

log = logging.getLogger(__name__)

# As long as a secured broker keeps a session that nobody comes back to.
_KEPT_S = 7 * 24 * 3600


@click.command()
@connection.options
@click.option("--device", help="Only the results of this device. Default: of all.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many results. Default: read until SIGTERM.")
@click.option("--name", help="The broker keeps what comes while the reader of this name is away. Default: it does not.")
def command(
    broker: connection.Broker, deployment: str, *, device: str | None, count: int | None, name: str | None
) -> None:
    """Print each result once, as a line of JSON.

    A result is acknowledged to the broker once it is printed. With --name the broker keeps a session for a week:
    whoever comes back under that name gets what was answered meanwhile, as far as the broker's queue for it goes.

    \b
    Python: broker.clients.results_reader.ResultsReader(transport, deployment).run(hand_on)
    """
    from broker.clients import results_reader
    from broker.messages import topics
    from broker.mqtt import online as mqtt_online
    from broker.mqtt import transport
    from broker.transport.protocol import Drop

    reader = topics.check_name("reader", name) if name else None
    where, credentials = broker.resolve(reads=deployment)
    with transport.MqttTransport(
        where,
        client_id=broker.reader_id(deployment, reader, device)
        if reader
        else mqtt_online.client_id(deployment, "results"),
        credentials=credentials,
        session_expiry_s=_KEPT_S if name else 0,
    ) as online:
        online.connect()
        reading = results_reader.ResultsReader(online, deployment, device=device)
        with screen.stopped_by_signals(reading.stop):
            summary = reading.run(click.echo, count=count)
    lost = online.counters.dropped[Drop.INBOX_FULL]
    if lost:
        log.error("results lost for want of memory results=%d; read them faster", lost)
    log.info(
        "results read results=%d duplicates=%d refused=%d unreadable=%d",
        summary.results,
        summary.duplicates,
        summary.refused,
        summary.unreadable,
    )
