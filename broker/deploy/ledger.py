"""The ledger: the identities of a deployment, from which the broker's files are made.

Pure: `broker.deploy.folder` reads and writes it, `access` and `mosquitto` derive the broker's own files from it.
"""

import enum
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from broker.messages import topics
from broker.transport.credentials import Role
from tflsplit import errors, strict_json, text
from tflsplit.values.classes import dataclass, replace

_SCHEMA = 1

# The folder of the brokers, where there are several.
BROKERS = "brokers"
# For clients on the broker's own machine, besides the names that others use.
LOCAL = ("localhost", "127.0.0.1", "::1")

# A host name as certificates and URLs take it; no wildcard, no user, no port.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*", re.ASCII)


# The number of names that a refusal repeats.
_SHOWN = 20


class Proof(str, enum.Enum):
    """How a client proves who it is."""

    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105 - the word, not one


@dataclass(frozen=True, slots=True)
class Identity:
    """`serials` are of its valid certificates, the newest last, which ends at `ends_s` (Unix time; None where an older
    version issued it); `password_hash` is in the broker's format. `reads` and `writes` are topics besides those of the
    role."""

    name: str
    role: Role
    serials: tuple[int, ...] = ()
    password_hash: str | None = None
    ends_s: int | None = None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        for topic_filter in (*self.reads, *self.writes):
            _check_filter(topic_filter)

    def with_certificate(self, serial: int, ends_s: int, *, keeps_old: bool) -> "tuple[Identity, tuple[int, ...]]":
        """With another certificate, and the serials of those that end with it: all older ones, or all but the last."""
        kept = self.serials[-1:] if keeps_old else ()
        ended = tuple(old for old in self.serials if old not in kept)
        return replace(self, serials=(*kept, serial), ends_s=ends_s), ended

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "role": self.role.value,
            "serials": [f"{serial:x}" for serial in self.serials],
            "password_hash": self.password_hash,
            "ends_s": self.ends_s,
            **{key: topics for key, topics in (("reads", self.reads), ("writes", self.writes)) if topics},
        }


@dataclass(frozen=True, slots=True)
class Server:
    """One broker: its own folder in that of the deployment, the names by which clients reach it, and its port."""

    folder: str
    hosts: tuple[str, ...]
    port: int

    @property
    def where(self) -> str:
        """host:port, for a URL: by the first of its names."""
        host = f"[{self.hosts[0]}]" if ":" in self.hosts[0] else self.hosts[0]
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """`hosts` are the names by which clients reach the broker; the first is in the files that they get. `others` are
    more brokers that the deployment is spread over, each with a host and a port. `revoked` are serial numbers;
    `list_number` and `list_issued_s` (Unix time) are of the last revocation list.
    """

    deployment: str
    hosts: tuple[str, ...]
    port: int
    proof: Proof
    identities: tuple[Identity, ...] = ()
    revoked: tuple[int, ...] = ()
    list_number: int = 0
    list_issued_s: int = 0
    others: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        if not self.hosts:
            raise errors.SettingsError("broker without a host name: clients could not check whom they talk to")
        for server in self.servers:
            for host in server.hosts:
                _check_host(host)
            if not 1 <= server.port <= 65535:
                raise errors.SettingsError(f"broker port {server.port}: expected 1 to 65535")
        if (twice := repeated(server.where for server in self.servers)) is not None:
            raise errors.SettingsError(f"broker {twice} is named twice: name each of them once")
        if (twice := repeated(identity.name for identity in self.identities)) is not None:
            raise errors.SettingsError(
                f"identity {twice!r} is named twice in deployment {self.deployment!r}: each device, cloud, consumer "
                "and operator needs a name of its own (without others they are called cloud, consumer and operator)"
            )

    @property
    def servers(self) -> tuple[Server, ...]:
        """The only broker has its files in the deployment's folder itself."""
        if not self.others:
            return (Server("", self.hosts, self.port),)
        more = ((tuple(dict.fromkeys((host, *LOCAL))), port) for host, port in self.others)
        every = ((self.hosts, self.port), *more)
        return tuple(Server(f"{BROKERS}/{hosts[0].replace(':', '-')}-{port}", hosts, port) for hosts, port in every)

    @property
    def where(self) -> str:
        """For people."""
        return ", ".join(f"mqtts://{server.where}" for server in self.servers)

    def named(self, names: Sequence[str]) -> tuple[Identity, ...]:
        """The identities of these names. SettingsError for one that there is not."""
        by_name = {identity.name: identity for identity in self.identities}
        for name in names:
            if name not in by_name:
                known = list(by_name)
                shown = ", ".join(known[:_SHOWN]) + (f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else "")
                raise errors.SettingsError(
                    f"no identity {name!r} in deployment {self.deployment!r}; there are {shown}"
                    f"{text.meant(name, known)}"
                )
        return tuple(by_name[name] for name in names)

    def with_changed(self, changed: Mapping[str, Identity], revoked: Iterable[int] = ()) -> "Ledger":
        """With other identities of these names, and more serials that count no longer."""
        identities = tuple(changed.get(identity.name, identity) for identity in self.identities)
        return replace(self, identities=identities, revoked=(*self.revoked, *revoked))

    def without(self, names: Sequence[str]) -> "Ledger":
        """Removes identities and revokes all their certificates."""
        gone = self.named(names)
        remaining = tuple(identity for identity in self.identities if identity.name not in names)
        ended = (serial for identity in gone for serial in identity.serials)
        return replace(self, identities=remaining, revoked=(*self.revoked, *ended))

    def as_json(self) -> str:
        """An identity is a line: a change of one is a line in whatever keeps the versions of this file."""
        fields = {
            "schema": _SCHEMA,
            "deployment": self.deployment,
            "hosts": self.hosts,
            "port": self.port,
            "proof": self.proof.value,
            "revoked": [f"{serial:x}" for serial in self.revoked],
            "list_number": self.list_number,
            "list_issued_s": self.list_issued_s,
            **({"others": self.others} if self.others else {}),
        }
        lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in fields.items()]
        identities = ",\n".join(f"  {json.dumps(identity.as_json())}" for identity in self.identities)
        return "{\n" + ",\n".join((*lines, f' "identities": [\n{identities}\n ]')) + "\n}\n"


def repeated(names: Iterable[str]) -> str | None:
    """The first name that comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


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
                    entry.get("ends_s"),
                    tuple(entry.get("reads", ())),
                    tuple(entry.get("writes", ())),
                )
                for entry in fields["identities"]
            ),
            revoked=tuple(int(serial, 16) for serial in fields["revoked"]),
            list_number=fields["list_number"],
            list_issued_s=fields["list_issued_s"],
            others=tuple((host, port) for host, port in fields.get("others", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise errors.SettingsError(f"{name}: damaged ({cause!r}); restore it from a backup") from cause


def _check_filter(topic_filter: str) -> None:
    """Of other programs' topics: what a deployment says is ruled by roles alone."""
    levels = topic_filter.split("/")
    is_whole = all(level in ("+", "#") or not set("+#") & set(level) for level in levels) and "#" not in levels[:-1]
    is_other = levels[0] not in ("", "+", "#", topics.ROOT.split("/")[0]) and not levels[0].startswith("$")
    if not (is_whole and is_other and topic_filter.isprintable() and topic_filter == topic_filter.strip()):
        raise errors.SettingsError(
            f"topic {topic_filter!r}: give one of another program, whose first level is a name, as "
            "frigate/+/person/snapshot; + stands for one whole level, # for all that follow"
        )


def _check_host(host: str) -> None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST.fullmatch(host) is None:
            raise errors.SettingsError(
                f"broker host {host!r}: expected a host name or an IP address, without scheme and port"
            ) from None
