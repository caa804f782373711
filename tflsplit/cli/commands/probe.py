"""`tflsplit probe`: measures the network link through a broker."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import text
from tflsplit.api import files
from tflsplit.cli.options import connection, units
from tflsplit.cli.output import examples, logs, screen
from tflsplit.cli.output.tables import Column
from tflsplit.timings import links

if TYPE_CHECKING:
    from broker.links import echo


@click.command(
    epilog=examples.epilog(
        "tflsplit probe --echo --broker mqtt://localhost --deployment shop",
        "tflsplit probe --broker mqtt://server --deployment shop -o link.json",
    )
)
@connection.options
@click.option("--echo", "is_echo", is_flag=True, help="Answer the probes of others. Run it where the cloud runs.")
@click.option("--device", help="Name of this client at the broker. Default: that of --credentials, else a random one.")
@click.option(
    "--size-time",
    "size_s",
    type=units.TIME,
    default="2s",
    show_default=True,
    help="Time to measure each payload size.",
)
@click.option(
    "-o",
    "--output",
    "destination",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the link to this file, for --link of `tflsplit plan`.",
)
@click.option("--force", "replaces_existing", is_flag=True, help="Replace FILE if there is one.")
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the link as JSON.")
def command(
    broker: connection.Broker,
    deployment: str,
    *,
    is_echo: bool,
    device: str | None,
    size_s: float,
    destination: Path | None,
    replaces_existing: bool,
    is_json: bool,
) -> None:
    """Measure the network link through a broker.

    Measured are round-trip time and throughput for several payload sizes, loss, and the largest packet that the broker
    takes. First start `tflsplit probe --echo` where the cloud runs. Without it only the link to the broker is measured.
    """
    from broker.links import echo, throughput

    run = connection.new_boot()
    name = broker.name(device, default=f"{'echo' if is_echo else 'probe'}-{run & 0xFFFFFF:06x}")
    if is_echo:
        with connection.connected(broker, deployment, name, run) as online:
            _serve(echo.Echo(online, deployment))
        return
    if destination is not None:
        files.check_free(destination, replaces_existing=replaces_existing)
    settings = throughput.Settings(deployment, name, size_s=size_s)
    with (
        connection.connected(broker, deployment, name, run) as ours,
        connection.connected(broker, deployment, name, run, is_second=True) as other,
        screen.progress("probe the link", len(settings.sizes)) as step,
    ):
        found = throughput.probe(ours, other, settings, run=run, on_size=step)
    if destination is not None:
        files.write_whole(destination, links.render(found.link))
    if is_json:
        click.echo(links.render(found.link), nl=False)
    else:
        _print(found.link)


def _serve(peer: "echo.Echo") -> None:
    peer.listen()
    with screen.stopped_by_signals(peer.stop):
        peer.run()
    logs.progress(f"{text.counted(peer.answered, 'message')} answered")


def _print(link: links.Link) -> None:
    rows = [
        (
            point.payload_bytes,
            f"{point.round_trip.p50_s * 1000:.2f}",
            f"{point.round_trip.p95_s * 1000:.2f}",
            point.round_trip.runs,
            f"{point.throughput_bps / 1e6:.3f}",
        )
        for point in link.points
    ]
    columns = ("bytes", "round trip p50 ms", Column("p95", rank=1), Column("runs", rank=2), "Mbit/s")
    screen.table(f"link of {link.name}", columns, rows)
    limit = "none" if link.packet_limit_bytes is None else f"{link.packet_limit_bytes:,} bytes"
    screen.write(
        f"bandwidth {link.bandwidth_bps / 1e6:.3f} Mbit/s, round trip {link.rtt_s * 1000:.2f} ms, "
        f"loss {text.percent(link.loss)}, packet limit {limit}"
    )
    screen.write(link.source)
