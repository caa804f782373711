"""`tflsplit probe`: what the link through a broker can do."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit.api import files
from tflsplit.cli.options import connection
from tflsplit.cli.output import screen
from tflsplit.timings import links

if TYPE_CHECKING:
    from broker.links import echo


@click.command()
@connection.options
@click.option("--echo", "is_echo", is_flag=True, help="Be the peer that answers: run it beside the cloud.")
@click.option("--device", help="Name to probe as. Default: one made up.")
@click.option("--size-time", "size_s", default=2.0, show_default=True, help="Seconds for each payload size.")
@click.option("-o", "--output", "destination", type=click.Path(path_type=Path), help="Write the link to this file.")
@click.option("--force", "replaces_existing", is_flag=True, help="Replace FILE if it is there.")
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
    """Measure round trips and throughput by payload size, loss and the packet limit through the broker.

    Start `tflsplit probe --echo` beside the cloud first; without it, only the way to the broker is measured.

    \b
    Python: broker.links.throughput.probe(ours, other, settings, run=run)
    """
    from broker.links import echo, throughput

    run = connection.new_boot()
    name = device or f"{'echo' if is_echo else 'probe'}-{run & 0xFFFFFF:06x}"
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
    click.echo(f"{peer.answered} messages answered", err=True)


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
    screen.table(f"link of {link.name}", ("bytes", "round trip p50 ms", "p95", "runs", "Mbit/s"), rows)
    limit = "none" if link.packet_limit_bytes is None else f"{link.packet_limit_bytes:,} bytes"
    click.echo(
        f"bandwidth {link.bandwidth_bps / 1e6:.3f} Mbit/s, round trip {link.rtt_s * 1000:.2f} ms, "
        f"loss {link.loss:.1%}, packet limit {limit}"
    )
    click.echo(link.source)
