"""`tflsplit watch`: what runs in a deployment, live, in the terminal or as a page."""

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit.cli.options import connection, units
from tflsplit.cli.output import examples, live, logs, screen, watched

if TYPE_CHECKING:
    from broker.watching.listener import Listener

log = logging.getLogger(__name__)

_EVERY_S = 1.0


@click.command(
    context_settings=logs.QUIET,
    epilog=examples.epilog(
        "tflsplit watch --broker mqtt://localhost --deployment shop",
        "tflsplit watch --credentials clients/consumer --serve 8080",
        "tflsplit watch --credentials clients/consumer --once --json",
    ),
)
@connection.options
@click.option("--once", "is_once", is_flag=True, help="Print what runs and end, as to a pipe. Default: until Ctrl-C.")
@click.option(
    "--listen",
    "listen_s",
    type=units.time(most="1h"),
    default="3s",
    show_default=True,
    help="With --once, how long to listen for what no broker retains: results, rates, latencies.",
)
@click.option(
    "--serve",
    "address",
    metavar="[HOST:]PORT",
    help="Serve a page that shows it, for browsers and phones. Default HOST: 127.0.0.1.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With --serve, who asks for the page must give the token on this file's first line, as the password. The file "
    "is made if there is none. Needed where HOST is not this machine alone.",
)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print all that is known as JSON, once.")
def command(
    broker: connection.Broker,
    deployment: str,
    *,
    is_once: bool,
    listen_s: float,
    address: str | None,
    token_file: Path | None,
    is_json: bool,
) -> None:
    """Show what runs in a deployment, live.

    Devices come with their last results, rates and problems, clouds with their queue. A device tells latencies, drops
    and spool where it runs with `edge --telemetry 10s`, a cloud its queue with `cloud --telemetry 10s`. Nothing here
    changes anything.
    """
    is_once = is_once or is_json or (address is None and not sys.stdout.isatty())
    if address is not None and is_once:
        raise click.UsageError("--serve goes on until Ctrl-C: leave out --once and --json.")
    if token_file is not None and address is None:
        raise click.UsageError("--token-file is for --serve: give both.")
    with connection.listening(broker, deployment) as heard:
        heard.synchronise(listen_s=listen_s if is_once else 0.0)
        for kind in heard.not_allowed:
            log.warning("not allowed to read messages=%s", kind.value)
        if is_once:
            _print(heard, is_json=is_json)
            return
        heard.start()
        with screen.stopped_by_signals(heard.stop):
            if address is not None:
                _serve(heard, address, token_file)
            else:
                live.show(lambda rows: _lines(heard, rows), heard.wait, every_s=_EVERY_S)


def _told(heard: "Listener") -> dict[str, Any]:
    with heard.reading() as found:
        return {**found.as_json(time.monotonic()), "lost": heard.lost}


def _print(heard: "Listener", *, is_json: bool) -> None:
    told = _told(heard)
    screen.as_json(told) if is_json else _show(told)


def _show(told: dict[str, Any]) -> None:
    for title, columns, rows in watched.tables(told):
        screen.table(title, columns, rows)


def _lines(heard: "Listener", rows: int) -> list[live.Table]:
    """What fits a screen of so many rows: those with a problem come first."""
    now_s = time.monotonic()
    with heard.reading() as found:
        told = {
            "deployment": found.name,
            **found.totals(now_s),
            "of_clouds": [cloud.as_json(now_s) for cloud in found.ordered_clouds()],
            "of_workers": [worker.as_json(now_s) for worker in found.ordered_workers()],
            "of_devices": [device.as_json(now_s) for device in found.ordered(now_s)[:rows]],
        }
    *others, (title, columns, shown) = watched.tables(told)
    title = f"{heard.link}\n{title}" if heard.link else title
    return [*(live.Table(*each) for each in others), live.Table(title, columns, shown, told["devices"])]


def _serve(heard: "Listener", address: str, token_file: Path | None) -> None:
    from broker.watching import browser

    with browser.serving(heard, address, token_file=token_file) as url:
        screen.write(f"watch {url}")
        while not heard.wait(_EVERY_S):
            pass
