"""The layout of a deployment's folder, and the files in it that never change.

authority/      deployment.json, the ledger, and the authority's ca.crt and ca.key; it is all that a backup needs
server/         what the broker reads, all made from the ledger, and its data
clients/NAME/   what each client is given
tflsplit-broker.service, compose.yaml; for RabbitMQ rabbitmq.json
"""

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from broker.deploy import files, mosquitto, supervision
from broker.deploy.ledger import Ledger
from broker.local import server
from tflsplit import errors

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


def make_folders(partial: Path, user: BrokerUser) -> None:
    for name in (AUTHORITY, CLIENTS, SERVER):
        files.make_folder(partial / name)
    files.make_folder(partial / SERVER / mosquitto.DATA)
    if user.uid != os.geteuid():
        for place in (partial / SERVER, partial / SERVER / mosquitto.DATA):
            os.chown(place, user.uid, user.gid)
        os.chown(partial, -1, user.gid)
        partial.chmod(0o710)  # the broker's user must get through to its own folder; it can list nothing


def write_fixed(partial: Path, path: Path, book: Ledger, user: BrokerUser) -> None:
    """Writes the files that do not depend on the identities."""
    ca = (partial / AUTHORITY / CA).read_bytes()
    files.write(partial / SERVER / mosquitto.AUTHORITY, ca)
    files.write(partial / SERVER / mosquitto.CONFIG, mosquitto.config(book).encode())
    unit = supervision.unit(
        book.deployment,
        path,
        path / SERVER,
        user.name,
        mosquitto=server.mosquitto_path() or "/usr/sbin/mosquitto",
        config=mosquitto.CONFIG,
    )
    compose = supervision.compose(book.port, user.uid, user.gid, config=mosquitto.CONFIG)
    files.write(partial / supervision.UNIT, unit.encode())
    files.write(partial / supervision.COMPOSE, compose.encode())


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
