"""`tflsplit broker list`: who may use the broker of a deployment."""

import datetime
import time
from collections.abc import Sequence
from pathlib import Path

import click

from tflsplit.cli.commands.broker import identities
from tflsplit.cli.output import examples, screen
from tflsplit.cli.output.tables import Column, Kind

_DAY_S = 86_400


@click.command("list", epilog=examples.epilog("tflsplit broker list /etc/tflsplit/broker"))
@identities.folder_argument
@click.option("--json", "is_json", is_flag=True, help="Print the names as JSON.")
def command(folder: Path, *, is_json: bool) -> None:
    """Show who may use the broker: names, roles, and when their certificates end.

    Who is online, and was seen last when, is known to the broker: `tflsplit fleet`.
    """
    from broker.deploy import folder as deployments

    book = deployments.read(folder)
    where = f"mqtts://{book.where}"
    rows = [(identity.name, identity.role.value, identity.ends_s) for identity in book.identities]
    if not is_json:
        _print(book.deployment, where, rows)
        return
    identities = [
        {"name": name, "role": role, "ends": ends_s and _date(ends_s).isoformat()} for name, role, ends_s in rows
    ]
    screen.as_json({"deployment": book.deployment, "broker": where, "identities": identities})


def _print(deployment: str, where: str, rows: Sequence[tuple[str, str, int | None]]) -> None:
    """`rows` are names, roles, and when certificates end (Unix time); None for one who has a password."""
    now_s = time.time()
    shown = [
        (
            name,
            role,
            *(("", "") if ends_s is None else (_date(ends_s).date().isoformat(), int((ends_s - now_s) / _DAY_S))),
        )
        for name, role, ends_s in rows
    ]
    screen.table(f"{deployment} at {where}", (Column("name", Kind.NAME), "role", "certificate ends", "in days"), shown)


def _date(at_s: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at_s, datetime.timezone.utc)
