"""The folder that a client of a secured broker gets, with the broker's address and the client's name and credentials.

broker.json     the broker's address and the client's name; this module owns its format
ca.crt          the authority that signed the broker's certificate
client.crt      and client.key, or `password`: how the broker recognises the client

`broker.deploy` makes such folders; nothing here needs more than the standard library.
"""

import enum
import json
import logging
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.transport import address
from broker.transport.address import Address, Credentials
from tflsplit import arguments, errors, strict_json
from tflsplit.values.classes import dataclass

_log = logging.getLogger(__name__)

DESCRIPTION = "broker.json"
AUTHORITY = "ca.crt"
CERTIFICATE = "client.crt"
KEY = "client.key"
PASSWORD = "password"  # noqa: S105 - the name of a file

_SCHEMA = 1


class Role(str, enum.Enum):
    """What an identity is at a broker; `broker.deploy.access` has the rights of each role."""

    DEVICE = "device"
    CLOUD = "cloud"
    CONSUMER = "consumer"
    OPERATOR = "operator"
    WORKER = "worker"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened folder. `addresses` are of all brokers of the deployment, `name` is the client's name there, `role`
    what it may do, "" if that is not said. `session` is a secret of 128 bits that outlives new certificates: with it in
    the id of a session that the broker keeps, nobody can guess that id and take it over."""

    folder: Path
    addresses: tuple[Address, ...]
    credentials: Credentials
    deployment: str
    name: str
    role: str
    session: str

    @property
    def address(self) -> Address:
        """The broker of a client that is at one: of several the one that a device of its name is assigned to."""
        return self.addresses[address.assigned(list(map(str, self.addresses)), self.name)]

    def check_belongs_to(self, deployment: str) -> None:
        """SettingsError for another deployment, of which the broker would silently deliver nothing."""
        if deployment != self.deployment:
            raise errors.SettingsError(
                f"credentials {self.folder} are for deployment {self.deployment!r}, not for {deployment!r}"
            )

    def check_speaks_for(self, deployment: str, name: str) -> None:
        """SettingsError for another client, whose messages the broker would silently drop."""
        self.check_belongs_to(deployment)
        if name != self.name:
            raise errors.SettingsError(
                f"credentials {self.folder} are those of {self.name!r} in deployment {self.deployment!r}, "
                f"not of {name!r}; the broker would not let one speak for the other: "
                "give that name (--device at an edge, else --name), or the right folder"
            )

    def check_is_for(self, role: Role) -> None:
        """SettingsError for another role, to which the broker would silently deliver nothing, or drop what it sends."""
        hears_all = role is Role.CONSUMER and self.role == Role.OPERATOR.value  # all but pictures
        if self.role and self.role != role.value and not hears_all:
            raise errors.SettingsError(
                f"credentials {self.folder}: {self.name!r} has the role {self.role} at the broker, which this takes "
                f"the role {role.value} for; give the folder of one that has it (`tflsplit broker add-device DIR NAME "
                f"--role {role.value}` makes one)"
            )


def describe(urls: Sequence[str], deployment: str, name: str, role: Role, session: str) -> bytes:
    """The contents of `broker.json`. Of several brokers `url` is a list, which older versions refuse."""
    url = urls[0] if len(urls) == 1 else list(urls)
    fields = {"schema": _SCHEMA, "url": url, "deployment": deployment, "name": name, "role": role, "session": session}
    return (json.dumps(fields, indent=2) + "\n").encode()


def open_bundle(folder: Path) -> Bundle:
    """Opens a folder; SettingsError names a file that is missing or damaged."""
    folder = arguments.path(folder, "credentials")
    fields = _described(folder)
    held = {name: folder / name for name in (AUTHORITY, CERTIFICATE, KEY, PASSWORD) if (folder / name).is_file()}
    if CERTIFICATE not in held and PASSWORD not in held:
        raise errors.SettingsError(
            f"credentials {folder}: neither {CERTIFICATE} nor {PASSWORD} is there; copy it again"
        )
    proof = Credentials(
        password=read_password(held[PASSWORD]) if PASSWORD in held else None,
        ca=held.get(AUTHORITY),
        certificate=held.get(CERTIFICATE),
        key=held.get(KEY),
    )
    if KEY in held:
        _warn_if_open(held[KEY])
    try:
        url = fields["url"]
        where = address.parse_all([url] if isinstance(url, str) else url)
        name, role, session = fields["name"], fields.get("role", ""), fields.get("session", "")
        return Bundle(folder, where, proof, fields["deployment"], name, role, session)
    except KeyError as missing:
        raise errors.SettingsError(f"credentials {folder}: {DESCRIPTION} lacks {missing}; copy it again") from missing


def session_of(folder: Path) -> str | None:
    """The session's secret of a folder that is about to be made anew; None if there is none to keep."""
    try:
        return open_bundle(folder).session or None
    except errors.SettingsError:
        return None


def of_speaker(
    folder: Path,
    speaker: tuple[str, str] | None,
    *,
    role: Role | None = None,
    reads: str | None = None,
    urls: Sequence[str] = (),
) -> tuple[tuple[Address, ...], Credentials]:
    """Where the brokers of a folder are, those that the speaker connects to, and what to show them; `urls` count before
    the folder's. The rest is as for `open_for`."""
    bundle = open_for(folder, speaker, role=role, reads=reads)
    where = chosen(address.parse_all(urls) if urls else bundle.addresses, speaker, role)
    for each in where:
        bundle.credentials.check_fit(each)
    return where, bundle.credentials


def chosen(brokers: tuple[Address, ...], speaker: tuple[str, str] | None, role: Role | None) -> tuple[Address, ...]:
    """Of the brokers of a deployment those that the speaker, (deployment, name), connects to: a device to its own,
    whoever serves, watches or steers devices to all. SettingsError where several cannot be."""
    if len(brokers) == 1 or speaker is None or role in (Role.CLOUD, Role.CONSUMER, Role.OPERATOR):
        return brokers
    names = [str(each) for each in brokers]
    if role is Role.WORKER:
        raise errors.SettingsError(
            f"brokers {', '.join(names)}: machines that share a model meet at one broker; give them the same one"
        )
    own = brokers[address.assigned(names, speaker[1])]
    _log.info("of several brokers this one is the device's device=%s broker=%s brokers=%d", speaker[1], own, len(names))
    return (own,)


def open_for(
    folder: Path, speaker: tuple[str, str] | None, *, role: Role | None = None, reads: str | None = None
) -> Bundle:
    """Opens the folder of somebody.

    `speaker` is (deployment, name), `reads` the deployment of one who only listens; SettingsError if the folder is
    somebody else's, or of one whose `role` is another.
    """
    bundle = open_bundle(folder)
    if speaker is not None:
        bundle.check_speaks_for(*speaker)
    if reads is not None:
        bundle.check_belongs_to(reads)
    if role is not None:
        bundle.check_is_for(role)
    return bundle


def read_password(path: Path) -> str:
    """The first line of a file; SettingsError if it is missing or empty."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise errors.SettingsError(f"password file {path} cannot be read: {errors.one_line(cause)}") from cause
    if not lines or not lines[0]:
        raise errors.SettingsError(f"password file {path} is empty: expected the password in its first line")
    _warn_if_open(path)
    return lines[0]


def _described(folder: Path) -> Mapping[str, Any]:
    try:
        fields: Any = strict_json.parse((folder / DESCRIPTION).read_bytes())
        schema = fields["schema"]
    except PermissionError as cause:
        raise errors.SettingsError(
            f"credentials {folder}: {DESCRIPTION} is not for this user (permission denied); run this as one who may"
        ) from cause
    except OSError as cause:
        raise errors.SettingsError(
            f"credentials {folder}: {DESCRIPTION} cannot be read ({cause.strerror}); "
            "give a folder that `tflsplit broker init` made below clients/"
        ) from cause
    except (ValueError, KeyError, TypeError) as cause:
        raise errors.SettingsError(
            f"credentials {folder}: {DESCRIPTION} is damaged ({cause!r}); copy it again"
        ) from cause
    if schema != _SCHEMA:
        raise errors.SettingsError(f"credentials {folder}: schema {schema}, expected {_SCHEMA}; update tflsplit")
    url = fields.get("url", "")
    urls = url if isinstance(url, list) and url else [url]
    told = [*urls, *(fields.get(key, "") for key in ("deployment", "name", "role", "session"))]
    if not all(isinstance(each, str) for each in told):
        raise errors.SettingsError(f"credentials {folder}: {DESCRIPTION} is damaged; copy it again")
    return dict(fields)


def _warn_if_open(path: Path) -> None:
    """Only a warning, because container platforms mount secrets readable by all, in containers with one user."""
    if path.stat().st_mode & stat.S_IROTH:
        _log.warning("secret is readable by every user of this machine file=%s remedy='chmod 600'", path)
