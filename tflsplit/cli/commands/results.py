"""`tflsplit results`: prints the results that the clouds of a deployment publish."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors, text
from tflsplit.api import files
from tflsplit.cli.options import connection
from tflsplit.cli.output import examples, screen

if TYPE_CHECKING:
    from broker.mqtt.transport import MqttTransport
    from broker.several.transport import Several
    from broker.transport.address import Address
    from broker.transport.credentials import Role
    from broker.zenoh.transport import ZenohTransport

log = logging.getLogger(__name__)

# As long as a secured broker keeps the session of a client that is away.
_KEPT_S = 7 * 24 * 3600


@click.command(
    epilog=examples.epilog(
        "tflsplit results --broker mqtt://localhost --deployment shop",
        "tflsplit results --credentials clients/consumer \\\n--device cam1 --name archive",
    )
)
@connection.options
@click.option("--device", help="Print only the results of this device. Default: of all devices.")
@click.option(
    "--count", type=click.IntRange(min=1), help="Stop after this number of results. Default: run until SIGTERM."
)
@click.option(
    "--name",
    help="Name of this reader. The broker then keeps new results while the reader is away. Default: no name, and "
    "results that come while nobody reads are lost.",
)
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write the mask of each result that has one to this folder, as DEVICE-BOOT-SEQUENCE.png. Edges send them with "
    "--mask.",
)
def command(
    broker: connection.Broker,
    deployment: str,
    *,
    device: str | None,
    count: int | None,
    name: str | None,
    masks: Path | None,
) -> None:
    """Print each result of a deployment as a line of JSON.

    Each result is printed once. It is acknowledged to the broker after it was printed. With --name the broker keeps
    results for a week while the reader is away, as many as fit in its queue; the next reader with that name gets them.
    """
    from broker.clients import results_reader
    from broker.messages import topics
    from broker.transport.credentials import Role
    from broker.transport.protocol import Drop

    reader = topics.check_name("reader", name) if name else None
    topics.check_name("deployment", deployment)
    if device:
        topics.check_name("device", device)
    if masks is not None:
        files.make_folder(masks)
    # A device may read its own.
    role = None if device and device == broker.name(None, default="") else Role.CONSUMER
    with _reader(broker, deployment, reader, device, role) as online:
        online.connect()
        reading = results_reader.ResultsReader(online, deployment, device=device)
        with screen.stopped_by_signals(reading.stop):
            summary = reading.run(_print if masks is None else lambda line: _keep(line, masks), count=count)
    lost = online.counters.dropped[Drop.INBOX_FULL]
    if lost:
        log.error("results lost for want of memory results=%d; read them faster", lost)
    log.info(
        "results read results=%d duplicates=%d refused=%d busy=%d unreadable=%d devices_forgotten=%d",
        summary.results,
        summary.duplicates,
        summary.refused,
        summary.busy,
        summary.unreadable,
        summary.forgotten,
    )


def _keep(line: bytes, folder: Path) -> None:
    """Writes the mask, then prints: what was printed is not read again."""
    from broker.messages import results

    read = results.parse(line)
    if isinstance(read, results.Result) and read.mask:
        files.write_whole(folder / f"{read.device}-{read.boot:016x}-{read.sequence}.png", read.mask)
    _print(line)


def _print(line: bytes) -> None:
    """Prints a result as it came, unless it holds characters that a terminal would obey."""
    shown = line.decode("utf-8")
    if not shown.isprintable():
        line = text.json_line(json.loads(shown)).encode()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _reader(
    broker: connection.Broker, deployment: str, reader: str | None, device: str | None, role: "Role | None"
) -> "MqttTransport | Several | ZenohTransport":
    """Not connected yet."""
    from broker.transport import online

    # As soon as a cloud notices: what it says again comes some seconds after (`broker.transport.repeats`).
    keepalive_s = broker.keepalive_s or online.QUICK_KEEPALIVE_S
    direct = broker.resolve_direct(role=role, reads=deployment)
    if direct is not None:
        from broker.zenoh.transport import ZenohTransport

        if reader is not None:
            raise errors.SettingsError(f"--name {reader}: results wait for an absent reader at a broker only")
        return ZenohTransport(
            direct[0], deployment=deployment, name="results", credentials=direct[1], keepalive_s=keepalive_s
        )
    from broker.mqtt import online as mqtt_online
    from broker.mqtt.transport import MqttTransport

    where, credentials = broker.resolve(role=role, reads=deployment)
    client_id = broker.reader_id(deployment, reader, device) if reader else mqtt_online.client_id(deployment, "results")

    def to(one: "Address") -> MqttTransport:
        return MqttTransport(
            one,
            client_id=client_id,
            credentials=credentials,
            keepalive_s=keepalive_s,
            session_expiry_s=_KEPT_S if reader else 0,
        )

    return mqtt_online.opened(where, to)
