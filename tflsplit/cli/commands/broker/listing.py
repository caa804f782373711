"""`tflsplit broker list`: who may use the broker of a deployment."""

import datetime
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tflsplit import errors
from tflsplit.cli.commands.broker import identities
from tflsplit.cli.options import connection
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind

if TYPE_CHECKING:
    from broker.deploy.ledger import Identity, Ledger
    from broker.messages.presence import Status

_DAY_S = 86_400
_SAY_STATUS = ("device", "cloud", "worker")  # the others only listen, or come for a moment


@click.command(
    "list",
    epilog=examples.epilog(
        "tflsplit broker list /etc/tflsplit/broker", "tflsplit broker list /etc/tflsplit/broker --ask"
    ),
)
@identities.folder_argument
@click.option(
    "--ask",
    "asks",
    is_flag=True,
    help="Ask the broker who is online, and who was there last when, as the consumer whose credentials are in DIR. Of "
    "a connection that was lost only its beginning is known: shown as `after`.",
)
@screen.wide_option
@click.option("--json", "is_json", is_flag=True, help="Print the names as JSON.")
def command(folder: Path, *, asks: bool, is_json: bool) -> None:
    """Show who may use the broker: names, roles, and when their certificates end.

    On which model each device is, the broker knows: `tflsplit fleet`.
    """
    from broker.deploy import folder as deployments

    book = deployments.read(folder)
    statuses = _ask(folder, book) if asks else None
    where = book.where
    if not is_json:
        rows = [(identity.name, identity.role.value, identity.ends_s) for identity in book.identities]
        _print(book.deployment, where, rows, statuses)
        return
    told = [_as_json(identity, statuses) for identity in book.identities]
    screen.as_json({"deployment": book.deployment, "broker": where, "identities": told})


def _ask(folder: Path, book: "Ledger") -> "Mapping[str, Status]":
    """The status of everybody who left one. SettingsError where nobody's credentials are here."""
    from broker.deploy import layout
    from broker.messages.topics import Kind as Topic
    from broker.transport import credentials

    for identity in book.identities:
        own = folder / layout.CLIENTS / identity.name
        is_complete = (own / credentials.KEY).exists() or (own / credentials.PASSWORD).exists()
        if identity.role is credentials.Role.CONSUMER and is_complete:
            with connection.listening(connection.Broker(folder=own), book.deployment, (Topic.STATUS,)) as heard:
                heard.synchronise()
                with heard.reading() as found:
                    return dict(found.statuses)
    raise errors.SettingsError(
        f"{folder / layout.CLIENTS}: no credentials of a consumer, who may ask; make some with "
        f"`tflsplit broker add-device {folder} NAME --role consumer`, or use those that were taken elsewhere: "
        "`tflsplit fleet --credentials`"
    )


def _as_json(identity: "Identity", statuses: "Mapping[str, Status] | None") -> Mapping[str, object]:
    ends_s = identity.ends_s
    told: dict[str, object] = {
        "name": identity.name,
        "role": identity.role.value,
        "ends": ends_s and _date(ends_s).isoformat(),
    }
    if statuses is not None:
        said = statuses.get(identity.name)
        seen_ms = None if said is None or said.state == "online" else said.seen_ms
        told |= {"state": said and said.state, "reason": said and said.reason, "last_seen_ms": seen_ms}
    return told


def _print(
    deployment: str,
    where: str,
    rows: Sequence[tuple[str, str, int | None]],
    statuses: "Mapping[str, Status] | None" = None,
) -> None:
    """`rows` are names, roles, and when certificates end (Unix time); None for one who has a password."""
    now_s = time.time()
    columns = [Column("name", Kind.NAME), Column("role", rank=1), Column("certificate ends", rank=2)]
    columns.append(Column("in days", rank=3))
    if statuses is not None:
        columns.append(Column("last seen"))
    shown = []
    for name, role, ends_s in rows:
        ends = ("", "") if ends_s is None else (_date(ends_s).date().isoformat(), int((ends_s - now_s) / _DAY_S))
        seen = () if statuses is None else (_seen(role, statuses.get(name)),)
        shown.append((name, role, *ends, *seen))
    screen.table(f"{deployment} at {where}", columns, shown)


def _seen(role: str, said: "Status | None") -> str:
    """In UTC, as the certificates' ends."""
    if said is None:
        return "never" if role in _SAY_STATUS else ""
    if said.state == "online":
        return "online"
    if said.seen_ms is None:
        return "offline"
    try:
        moment = f"{_date(said.seen_ms / 1e3):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):  # a clock that no calendar has
        return "offline"
    is_known = said.reason == "closed" and said.at_ms is not None
    return moment if is_known else f"after {moment}"


def _date(at_s: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_s, datetime.timezone.utc)
