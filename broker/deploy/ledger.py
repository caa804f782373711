"""The ledger: the identities of a deployment, from which the broker's files are made.

Pure: `broker.deploy.folder` reads and writes it, `access` and `mosquitto` derive the broker's own files from it.
"""

import enum
import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker.messages import topics
from broker.transport.credentials import Role
from tflsplit import errors, strict_json, text

_SCHEMA = 1

# A host name as certificates and URLs take it; no wildcard, no user, no port.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*", re.ASCII)


class Proof(str, enum.Enum):
    """How a client proves who it is."""

    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105 - the word, not one


@dataclass(frozen=True, slots=True)
class Identity:
    """`serials` are of its valid certificates, the newest last; `password_hash` is in the broker's format."""

    name: str
    role: Role
    serials: tuple[int, ...] = ()
    password_hash: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)


@dataclass(frozen=True, slots=True)
class Ledger:
    """`hosts` are the names by which clients reach the broker; the first is in the files that they get. `revoked` are
    serial numbers; `list_number` and `list_issued_s` (Unix time) are of the last revocation list.
    """

    deployment: str
    hosts: tuple[str, ...]
    port: int
    proof: Proof
    identities: tuple[Identity, ...] = ()
    revoked: tuple[int, ...] = ()
    list_number: int = 0
    list_issued_s: int = 0

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        if not self.hosts:
            raise errors.SettingsError("broker without a host name: clients could not check whom they talk to")
        for host in self.hosts:
            _check_host(host)
        if not 1 <= self.port <= 65535:
            raise errors.SettingsError(f"broker port {self.port}: expected 1 to 65535")
        names = [identity.name for identity in self.identities]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise errors.SettingsError(
                f"identity {twice!r} is named twice in deployment {self.deployment!r}: each device, cloud, consumer "
                "and operator needs a name of its own (without others they are called cloud, consumer and operator)"
            )

    @property
    def where(self) -> str:
        """host:port, for a URL."""
        host = f"[{self.hosts[0]}]" if ":" in self.hosts[0] else self.hosts[0]
        return f"{host}:{self.port}"

    def identity(self, name: str) -> Identity:
        for identity in self.identities:
            if identity.name == name:
                return identity
        known = [identity.name for identity in self.identities]
        raise errors.SettingsError(
            f"no identity {name!r} in deployment {self.deployment!r}; there are {', '.join(known)}"
            f"{text.meant(name, known)}"
        )

    def check_known(self, names: Sequence[str]) -> None:
        for name in names:
            self.identity(name)

    def with_changed(self, changed: Identity) -> "Ledger":
        identities = tuple(changed if identity.name == changed.name else identity for identity in self.identities)
        return replace(self, identities=identities)

    def with_certificate(self, identity: Identity, serial: int, *, keeps_old: bool) -> "Ledger":
        """Adds a certificate to an identity; its older ones are revoked, except the last one if `keeps_old`."""
        kept = identity.serials[-1:] if keeps_old else ()
        ended = tuple(old for old in identity.serials if old not in kept)
        changed = replace(identity, serials=(*kept, serial))
        return replace(self.with_changed(changed), revoked=(*self.revoked, *ended))

    def without(self, name: str) -> "Ledger":
        """Removes an identity and revokes all its certificates."""
        gone = self.identity(name)
        remaining = tuple(identity for identity in self.identities if identity is not gone)
        return replace(self, identities=remaining, revoked=(*self.revoked, *gone.serials))

    def as_json(self) -> str:
        fields = {
            "schema": _SCHEMA,
            "deployment": self.deployment,
            "hosts": self.hosts,
            "port": self.port,
            "proof": self.proof.value,
            "identities": [
                {
                    "name": identity.name,
                    "role": identity.role.value,
                    "serials": [f"{serial:x}" for serial in identity.serials],
                    "password_hash": identity.password_hash,
                }
                for identity in self.identities
            ],
            "revoked": [f"{serial:x}" for serial in self.revoked],
            "list_number": self.list_number,
            "list_issued_s": self.list_issued_s,
        }
        return json.dumps(fields, indent=2) + "\n"


def check_name(name: str) -> str:
    """Returns `name` if it is allowed for an identity, which is a topic level, a user name in the broker's files, the
    common name of a certificate and a folder."""
    return topics.check_name("identity", name)


def parse(text: str, *, name: str) -> Ledger:
    try:
        fields: Any = strict_json.parse(text)
        if fields["schema"] != _SCHEMA:
            raise errors.SettingsError(f"{name}: schema {fields['schema']}, expected {_SCHEMA}; update tflsplit")
        return Ledger(
            deployment=fields["deployment"],
            hosts=tuple(fields["hosts"]),
            port=fields["port"],
            proof=Proof(fields["proof"]),
            identities=tuple(
                Identity(
                    entry["name"],
                    Role(entry["role"]),
                    tuple(int(serial, 16) for serial in entry["serials"]),
                    entry["password_hash"],
                )
                for entry in fields["identities"]
            ),
            revoked=tuple(int(serial, 16) for serial in fields["revoked"]),
            list_number=fields["list_number"],
            list_issued_s=fields["list_issued_s"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise errors.SettingsError(f"{name}: damaged ({cause!r}); restore it from a backup") from cause


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host) is None:
            raise errors.SettingsError(
                f"broker host {host!r}: expected a host name or an IP address, without scheme and port"
            ) from None
