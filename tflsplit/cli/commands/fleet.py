"""`tflsplit fleet`: who is there, on which model, cut and version, since when."""

import csv
import functools
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import connection, units
from tflsplit.cli.options import metrics as metrics_option
from tflsplit.cli.output import examples, logs, screen, watched

if TYPE_CHECKING:
    from broker.transport.protocol import Transport
    from tflsplit.observing.health import Health

_LAST = float("inf")
# Telemetry comes every ten seconds by default.
_TELEMETRY_S = 12.0


def _latency(told: Mapping[str, Any]) -> float:
    found = told["latency_ms"].get("p50")
    return -found if found is not None else _LAST


_ORDERS: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "name": lambda told: told["device"],
    "state": lambda told: (told["state"] != "offline", told["problem"] is None),
    "since": lambda told: told["last_seen_ms"] or told["since_ms"] or _LAST,
    "latency": _latency,
    "certificate": lambda told: told["certificate_ends_s"] or _LAST,
}


@click.command(
    context_settings=logs.QUIET,
    epilog=examples.epilog(
        "tflsplit fleet --credentials clients/consumer",
        "tflsplit fleet --credentials clients/consumer --sort latency --csv",
    ),
)
@connection.options
@metrics_option.option
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="With --metrics: only this device. Repeatable. Default: the first 1,000 that are heard.",
)
@click.option(
    "--sort",
    "order",
    type=click.Choice(tuple(_ORDERS)),
    default="name",
    show_default=True,
    help="What comes first: names; who is offline or has a problem; who has been as it is for longest; the slowest; "
    "whose certificate ends first.",
)
@click.option(
    "--listen",
    "listen_s",
    type=units.time(most="1h"),
    help="Listen at least this long, for rates and latencies out of telemetry, which no broker retains. Default: "
    "12s with --sort latency, else only until all that is retained has come.",
)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print all that is known as JSON.")
@click.option("--csv", "is_csv", is_flag=True, help="Print a line of comma-separated values for each device.")
def command(
    broker: connection.Broker,
    deployment: str,
    *,
    metrics: str | None,
    devices: tuple[str, ...],
    order: str,
    listen_s: float | None,
    is_json: bool,
    is_csv: bool,
) -> None:
    """List devices: who is online, on which model.

    All of it comes from what the broker retains: devices that are switched off are there too.

    With --metrics it runs until SIGTERM, and serves what each device's telemetry told last as series of its own.
    """
    from broker.messages.topics import Kind
    from broker.watching import listener

    if is_json and is_csv:
        raise click.UsageError("--json and --csv are two forms: give one.")
    if metrics is not None:
        _serve(broker, deployment, metrics, devices)
        return
    if devices:
        raise click.UsageError("--device goes with --metrics.")
    listen_s = (_TELEMETRY_S if order == "latency" else 0.0) if listen_s is None else listen_s
    with connection.listening(broker, deployment, (*listener.RETAINED, Kind.TELEMETRY)) as heard:
        heard.synchronise(listen_s=listen_s)
        with heard.reading() as found:
            now_s = time.monotonic()
            told: dict[str, Any] = found.as_json(now_s)
    listed = sorted(sorted(told["of_devices"], key=_ORDERS["name"]), key=_ORDERS[order])
    if is_json:
        screen.as_json({**told, "of_devices": listed, "lost": heard.lost})
    elif is_csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerows([watched.CSV, *map(watched.csv_row, listed)])
    else:
        _show(told, listed)


def _serve(broker: connection.Broker, deployment: str, address: str, devices: Sequence[str]) -> None:
    from broker.fleet.listening import Listening
    from broker.fleet.series import Series
    from broker.messages import topics

    for device in devices:
        topics.check_name("device", device)
    shown, ended = Series(deployment, devices), threading.Event()
    with connection.reading(broker, deployment, "fleet") as connected:
        health = functools.partial(_health, connected)
        with (
            metrics_option.served(address, shown.families, health),
            Listening(connected, deployment, shown),
            screen.stopped_by_signals(ended.set),
        ):
            ended.wait()


def _health(connected: "Transport") -> "Health":
    from broker.transport.protocol import ConnectionState
    from tflsplit.observing.health import Health

    is_online = connected.state is ConnectionState.ONLINE
    why = connected.absent if is_online else f"not connected to the broker: {connected.last_failure}"
    return Health(True, is_online, why, {"broker": connected.state.value})


def _show(told: Mapping[str, Any], devices: Sequence[Mapping[str, Any]]) -> None:
    screen.table(watched.summary(told, has_results=False), watched.FLEET, [watched.fleet(each) for each in devices])
