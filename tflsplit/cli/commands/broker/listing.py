"""`tflsplit broker list`: who may use the broker of a deployment."""

import datetime
from pathlib import Path

import click

from tflsplit.cli.commands.broker import identities
from tflsplit.cli.output import examples, screen


@click.command("list", epilog=examples.epilog("tflsplit broker list /etc/tflsplit/broker"))
@identities.folder_argument
@click.option("--json", "is_json", is_flag=True, help="Print the names as JSON.")
def command(folder: Path, *, is_json: bool) -> None:
    """Show who may use the broker: names, roles, and when their certificates end.

    Who is online, and was seen last when, is known to the broker: `tflsplit fleet`.
    """
    from broker.deploy import folder as deployments

    book = deployments.read(folder)
    now = datetime.datetime.now(datetime.timezone.utc)
    rows = []
    for identity in book.identities:
        ends = None if identity.ends_s is None else datetime.datetime.fromtimestamp(identity.ends_s, now.tzinfo)
        rows.append((identity.name, identity.role.value, ends))
    if is_json:
        screen.as_json(
            {
                "deployment": book.deployment,
                "broker": f"mqtts://{book.where}",
                "identities": [
                    {"name": name, "role": role, "ends": ends and ends.isoformat()} for name, role, ends in rows
                ],
            }
        )
        return
    columns = ("name", "role", "certificate ends", "in days")
    shown = [
        (name, role, *(("password", "") if ends is None else (ends.date().isoformat(), (ends - now).days)))
        for name, role, ends in rows
    ]
    screen.table(f"{book.deployment} at mqtts://{book.where}", columns, shown)
