"""The layout of a deployment's folder, and the files in it that never change.

authority/      deployment.json, the ledger, and the authority's ca.crt and ca.key; it is all that a backup needs
server/         what the broker reads, all made from the ledger, and its data
clients/NAME/   what each client is given
tflsplit-broker.service, compose.yaml; for RabbitMQ rabbitmq.json

Of several brokers each has its server/, unit and compose.yaml in brokers/HOST-PORT/, to be carried to its machine.
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from broker.deploy import files, mosquitto, supervision
from broker.deploy.ledger import BROKERS, Ledger
from broker.local import server
from tflsplit import errors
from tflsplit.values.classes import dataclass

SERVER = "server"
CLIENTS = "clients"
AUTHORITY = "authority"
LEDGER = "deployment.json"
CA, CA_KEY = "ca.crt", "ca.key"

_BROKER_USER = "mosquitto"


@dataclass(frozen=True, slots=True)
class BrokerUser:
    """The user that runs the broker; `name` may be a number."""

    name: str
    uid: int
    gid: int


def servers(path: Path, book: Ledger) -> tuple[Path, ...]:
    """What each broker reads, in the order of the ledger."""
    return tuple(path / server.folder / SERVER for server in book.servers)


def homes(path: Path) -> list[Path]:
    """The folders of the brokers in that of a deployment: it is that of the only one itself."""
    return sorted((path / BROKERS).iterdir()) if (path / BROKERS).is_dir() else [path]


def make_folders(partial: Path, book: Ledger, user: BrokerUser) -> None:
    for name in (AUTHORITY, CLIENTS):
        files.make_folder(partial / name)
    for own in servers(partial, book):
        for place in (*_between(partial, own), own, own / mosquitto.DATA):
            if not place.exists():
                files.make_folder(place)
        if user.uid == os.geteuid():
            continue
        for place in (own, own / mosquitto.DATA):
            os.chown(place, user.uid, user.gid)
        for place in (partial, *_between(partial, own)):
            os.chown(place, -1, user.gid)
            place.chmod(0o710)  # the broker's user must get through to its own folder; it can list nothing


def _between(path: Path, own: Path) -> Iterator[Path]:
    """The folders between that of the deployment and what a broker reads, from above."""
    yield from (each for each in reversed(own.parents) if path in each.parents)


def write_fixed(partial: Path, path: Path, book: Ledger, user: BrokerUser) -> None:
    """Writes the files that do not depend on the identities."""
    ca = (partial / AUTHORITY / CA).read_bytes()
    for one in book.servers:
        home = path / one.folder
        unit = supervision.unit(
            book.deployment,
            home,
            home / SERVER,
            user.name,
            mosquitto=server.mosquitto_path() or "/usr/sbin/mosquitto",
            config=mosquitto.CONFIG,
        )
        compose = supervision.compose(one.port, user.uid, user.gid, config=mosquitto.CONFIG)
        written = partial / one.folder
        files.write(written / SERVER / mosquitto.AUTHORITY, ca)
        files.write(written / SERVER / mosquitto.CONFIG, mosquitto.config(book, one.port).encode())
        files.write(written / supervision.UNIT, unit.encode())
        files.write(written / supervision.COMPOSE, compose.encode())


def broker_user() -> BrokerUser:
    """The current user, or `mosquitto` for root, because Mosquitto changes to that user when root starts it."""
    if os.geteuid() != 0:
        return BrokerUser(str(os.geteuid()), os.geteuid(), os.getegid())
    try:
        found = pwd.getpwnam(_BROKER_USER)
        return BrokerUser(_BROKER_USER, found.pw_uid, found.pw_gid)
    except KeyError:
        raise errors.SettingsError(
            f"no user {_BROKER_USER!r} here, as whom the broker would run: apt install mosquitto, or do this as an "
            "ordinary user"
        ) from None
