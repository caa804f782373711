"""Makes and changes a deployment's folder, whose layout is in `broker.deploy.layout`; one command at a time.

The ledger is written first, and everything else is made from it. To repair the effect of a killed command, repeat it,
or use `rotate` if the names are in the ledger already.
"""

import contextlib
import datetime
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from broker.deploy import access, authority, files, layout, ledger, mosquitto, rabbitmq
from broker.deploy.authority import PublicKey, Signer
from broker.deploy.ledger import Identity, Ledger, Proof
from broker.transport import credentials
from broker.transport.credentials import Role
from tflsplit import arguments, errors, text
from tflsplit.values.classes import dataclass, replace

# Long, because devices in the field are forgotten for years and stop working when their certificate expires.
LASTS_DAYS = 5 * 365

# So many identities are entered at a time: a call that is ended loses the last of them only.
_TOGETHER = 1000

# Who others may connect to without a broker (`broker.zenoh`).
_LISTENERS = (Role.CLOUD, Role.WORKER)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The identities of a new deployment."""

    devices: tuple[str, ...]
    clouds: tuple[str, ...] = ("cloud",)
    consumers: tuple[str, ...] = ("consumer",)
    operators: tuple[str, ...] = ("operator",)

    def identities(self) -> tuple[Identity, ...]:
        by_role = (
            (Role.DEVICE, self.devices),
            (Role.CLOUD, self.clouds),
            (Role.CONSUMER, self.consumers),
            (Role.OPERATOR, self.operators),
        )
        return tuple(Identity(name, role) for role, names in by_role for name in names)


def init(
    path: Path,
    wanted: Wanted,
    *,
    deployment: str,
    hosts: Sequence[str],
    port: int = 8883,
    proof: Proof = Proof.CERTIFICATE,
    days: int = LASTS_DAYS,
    now: datetime.datetime | None = None,
    is_rabbitmq: bool = False,
    others: Sequence[tuple[str, int]] = (),
    step: Callable[[], None] = lambda: None,
) -> Ledger:
    """Makes the folder, completely or not at all. SettingsError if it exists or a name is not allowed. `others` are the
    hosts and ports of more brokers of the deployment. `step` is called after each identity. With `is_rabbitmq` there
    are definitions for RabbitMQ too, kept up with every change."""
    now = now or _now()
    path = path.absolute()
    if any(character.isspace() or character in "\"'\\" for character in str(path)) or not text.is_utf8(str(path)):
        raise errors.SettingsError(
            f"{path}: systemd units take no spaces, quotes or backslashes in such a path, and only UTF-8"
        )
    names = (*hosts, *(local for local in ledger.LOCAL if local not in hosts))
    book = Ledger(deployment, names, port, proof, wanted.identities(), others=tuple(others))
    if is_rabbitmq:
        rabbitmq.check(book)
    user = layout.broker_user()
    with files.new_folder(path) as partial:
        signer = authority.make(deployment, now)
        layout.make_folders(partial, book, user)
        files.write(partial / layout.AUTHORITY / layout.CA, signer.certificate)
        files.write(partial / layout.AUTHORITY / layout.CA_KEY, signer.key)
        layout.write_fixed(partial, path, book, user)
        if is_rabbitmq:
            files.write(partial / rabbitmq.DEFINITIONS, b"")
        opened = _Opened(partial, signer, book, now, days, is_new=True)
        opened.issue_server()
        opened.issue(opened.all_names, keeps_old=False, step=step)
    return opened.ledger


def add(
    path: Path,
    names: Sequence[str],
    *,
    role: Role = Role.DEVICE,
    days: int = LASTS_DAYS,
    now: datetime.datetime | None = None,
    skips_known: bool = False,
    step: Callable[[], None] = lambda: None,
) -> tuple[str, ...]:
    """Adds identities; returns their names. The broker must then read its files again, as after every change.

    Those that exist are refused, or with `skips_known` left as they are, but for those whose folder is missing here,
    since an earlier call was ended in the middle: these are made.
    """
    with _opened(path, days, now) as opened:
        known = set(opened.all_names)
        there = [name for name in names if name in known]
        if there and not skips_known:
            raise errors.SettingsError(
                f"identity {there[0]!r} exists already in deployment {opened.ledger.deployment!r}"
            )
        unmade = {name for name in there if not (path / layout.CLIENTS / name).is_dir()}
        wanted = tuple(name for name in names if name not in known or name in unmade)
        for begin in range(0, len(wanted), _TOGETHER):
            some = wanted[begin : begin + _TOGETHER]
            new = tuple(Identity(name, role) for name in some if name not in known)
            opened.ledger = replace(opened.ledger, identities=(*opened.ledger.identities, *new))
            opened.issue(some, keeps_old=False, step=step)
        return wanted


def sign(
    path: Path,
    requests: Sequence[Path],
    *,
    role: Role = Role.DEVICE,
    days: int = LASTS_DAYS,
    now: datetime.datetime | None = None,
    keeps_old: bool = False,
) -> tuple[str, ...]:
    """Certificates for keys that stay where they were made: `requests` are files of signing requests, PEM or DER.
    Returns the names in them, each with a folder that lacks only the key. One that there is already gets a new
    certificate. SettingsError, and nothing is signed, where one request is not right.
    """
    keys: dict[str, authority.PublicKey] = {}
    files: dict[str, Path] = {}
    for file in requests:
        with errors.disk_errors(file, "cannot be read ({}); give a certificate signing request"):
            name, key = authority.requested(arguments.read(file), file=str(file))
        if name in keys:
            raise errors.SettingsError(
                f"{file}: is for {name!r}, as {files[name]} is, and each client has a name of its own; give one of them"
            )
        keys[name], files[name] = key, file
    with _opened(path, days, now) as opened:
        if opened.ledger.proof is Proof.PASSWORD:
            raise errors.SettingsError(f"{path}: clients of this deployment have passwords, not certificates")
        known = set(opened.all_names)
        for identity in opened.ledger.named([name for name in keys if name in known]):
            if identity.role is not role:
                raise errors.SettingsError(
                    f"{files[identity.name]}: {identity.name!r} is there with the role {identity.role.value}"
                )
        new = tuple(Identity(name, role) for name in keys if name not in known)
        opened.ledger = replace(opened.ledger, identities=(*opened.ledger.identities, *new))
        opened.issue(tuple(keys), keeps_old=keeps_old, keys=keys)
        return tuple(keys)


def revoke(path: Path, names: Sequence[str], *, now: datetime.datetime | None = None) -> Ledger:
    """Revokes identities with all their certificates and passwords, and deletes their folders here."""
    with _opened(path, LASTS_DAYS, now) as opened:
        opened.ledger = opened.ledger.without(names)
        opened.write_ledger()
        for name in names:
            shutil.rmtree(path / layout.CLIENTS / name, ignore_errors=True)
        return opened.ledger


def allow(
    path: Path,
    names: Sequence[str],
    *,
    reads: Sequence[str],
    writes: Sequence[str],
    now: datetime.datetime | None = None,
) -> Ledger:
    """Gives identities topics besides those of their roles, in place of what an earlier call gave."""
    with _opened(path, LASTS_DAYS, now) as opened:
        read, written = tuple(dict.fromkeys(reads)), tuple(dict.fromkeys(writes))
        identities = opened.ledger.named(names)
        changed = {identity.name: replace(identity, reads=read, writes=written) for identity in identities}
        opened.ledger = opened.ledger.with_changed(changed)
        opened.write_ledger()
        return opened.ledger


def rotate(
    path: Path,
    names: Sequence[str],
    *,
    keeps_old: bool = False,
    days: int = LASTS_DAYS,
    now: datetime.datetime | None = None,
    step: Callable[[], None] = lambda: None,
) -> Ledger:
    """Issues new certificates or passwords for identities; a key that the client made stays. The old ones are revoked,
    or with `keeps_old` at the next `rotate` or `revoke` of the name, so that there is time to deliver the new ones."""
    with _opened(path, days, now) as opened:
        if keeps_old and opened.ledger.proof is Proof.PASSWORD:
            raise errors.SettingsError("an identity has one password at a time: the old one cannot be kept")
        for begin in range(0, len(names), _TOGETHER):
            opened.issue(names[begin : begin + _TOGETHER], keeps_old=keeps_old, step=step)
        return opened.ledger


def ending(path: Path, *, days: int, now: datetime.datetime | None = None) -> tuple[str, ...]:
    """The names of the identities whose newest certificate ends within so many days, or has ended."""
    until_s = ((now or _now()) + datetime.timedelta(days=days)).timestamp()
    return tuple(
        identity.name
        for identity in read(path).identities
        if identity.ends_s is not None and identity.ends_s <= until_s
    )


def rotate_server(path: Path, *, days: int = LASTS_DAYS, now: datetime.datetime | None = None) -> Ledger:
    """Issues a new key and certificate for the broker itself; clients need no change."""
    with _opened(path, days, now) as opened:
        opened.issue_server()
        return opened.ledger


def renew_rules(path: Path) -> bool:
    """Writes the access rules as this version has them; False if they were so. An older version gave fewer rights, and
    a broker is silent about what it does not let through."""
    book = read(path)
    places = [each / mosquitto.ACCESS for each in layout.servers(path, book)]
    with files.disk_errors(path):
        if all(rules.read_bytes() == access.render(book).encode() for rules in places):
            return False
        with files.locked(path):
            for rules in places:
                files.write(rules, access.render(read(path)).encode())
    return True


def read(path: Path) -> Ledger:
    """SettingsError if there is no deployment at `path`."""
    place = path / layout.AUTHORITY / layout.LEDGER
    try:
        text = place.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise errors.SettingsError(
            f"{path}: no deployment (no {layout.AUTHORITY}/{layout.LEDGER}); `tflsplit broker init` makes one"
        ) from cause
    except OSError as cause:
        raise errors.DeviceError(f"{place}: {cause.strerror}") from cause
    return ledger.parse(text, name=str(place))


@dataclass(slots=True)
class _Opened:
    """A deployment that is being changed; `ledger` is the new state."""

    path: Path
    authority: authority.Pair
    ledger: Ledger
    now: datetime.datetime
    days: int
    is_new: bool = False  # then all of it is written to the disk at once, before it has its name

    @property
    def all_names(self) -> tuple[str, ...]:
        return tuple(identity.name for identity in self.ledger.identities)

    def issue(
        self,
        names: Sequence[str],
        *,
        keeps_old: bool,
        keys: Mapping[str, PublicKey] | None = None,
        step: Callable[[], None] = lambda: None,
    ) -> None:
        """`keys` are public keys of clients who keep their own."""
        signer = Signer(self.authority)
        contents, changed, ended = {}, {}, list[int]()
        for identity in self.ledger.named(names):
            key = (keys or {}).get(identity.name)
            contents[identity.name], changed[identity.name], old = self._renewed(identity, signer, key, keeps_old)
            ended += old
        self.ledger = self.ledger.with_changed(changed, ended)
        self.write_ledger()
        for name, made in contents.items():
            files.write_folder(self.path / layout.CLIENTS / name, made, is_synced=not self.is_new)
            step()

    def issue_server(self) -> None:
        for one, server in zip(self.ledger.servers, layout.servers(self.path, self.ledger), strict=True):
            pair = authority.issue_server(self.authority, one.hosts, self.now, days=self.days)
            files.write(server / mosquitto.KEY, pair.key)
            files.write(server / mosquitto.CERTIFICATE, pair.certificate)

    def write_ledger(self) -> None:
        """Writes the ledger, then the files that the brokers read, which are the same for all."""
        self.ledger = _with_next_list(self.ledger, self.now)
        definitions = self.path / rabbitmq.DEFINITIONS
        rendered = rabbitmq.render(self.ledger) if definitions.exists() else None  # refused before anything is written
        files.write(self.path / layout.AUTHORITY / layout.LEDGER, self.ledger.as_json().encode())
        if rendered is not None:
            files.write(definitions, rendered.encode())
        made = {mosquitto.ACCESS: access.render(self.ledger).encode()}
        if self.ledger.proof is Proof.PASSWORD:
            made[mosquitto.PASSWORDS] = mosquitto.passwords(self.ledger).encode()
        else:
            issued = datetime.datetime.fromtimestamp(self.ledger.list_issued_s, datetime.timezone.utc)
            told = (self.ledger.revoked, self.ledger.list_number, issued)
            made[mosquitto.REVOKED] = authority.revocation_list(self.authority, *told)
        for server in layout.servers(self.path, self.ledger):
            for name, data in made.items():
                files.write(server / name, data)

    def _renewed(
        self, identity: Identity, signer: Signer, key: PublicKey | None, keeps_old: bool
    ) -> tuple[dict[str, bytes], Identity, tuple[int, ...]]:
        """The files for the identity's owner, the identity with a new certificate or password, and serials that end."""
        made = {credentials.AUTHORITY: self.authority.certificate}
        there, user, ended = self.path / layout.CLIENTS / identity.name, "", tuple[int, ...]()
        if self.ledger.proof is Proof.PASSWORD:
            password = secrets.token_urlsafe(24)
            hashed = mosquitto.password_hash(password, secrets.token_bytes(mosquitto.SALT_BYTES))
            changed = replace(identity, password_hash=hashed)
            made[credentials.PASSWORD] = f"{password}\n".encode()
            user = f"{identity.name}@"
        else:
            issued = signer.issue_client(
                identity.name,
                self.now,
                days=self.days,
                public_key=key or _own_key(there),
                may_listen=identity.role in _LISTENERS,
            )
            changed, ended = identity.with_certificate(issued.serial, issued.ends_s, keeps_old=keeps_old)
            made[credentials.CERTIFICATE] = issued.certificate
            if issued.key is not None:
                made[credentials.KEY] = issued.key
        urls = [f"mqtts://{user}{server.where}" for server in self.ledger.servers]
        session = credentials.session_of(there) or secrets.token_hex(16)
        made[credentials.DESCRIPTION] = credentials.describe(
            urls, self.ledger.deployment, identity.name, identity.role, session
        )
        return made, changed, ended


def _own_key(folder: Path) -> PublicKey | None:
    """That of a client who made its key itself and keeps it: its folder has a certificate, and no key."""
    certificate = folder / credentials.CERTIFICATE
    if (folder / credentials.KEY).exists() or not certificate.exists():
        return None
    return authority.public_key(certificate.read_bytes())


@contextlib.contextmanager
def _opened(path: Path, days: int, now: datetime.datetime | None) -> Iterator[_Opened]:
    read(path)
    with files.disk_errors(path), files.locked(path):
        signer = authority.Pair(
            (path / layout.AUTHORITY / layout.CA).read_bytes(), (path / layout.AUTHORITY / layout.CA_KEY).read_bytes()
        )
        yield _Opened(path, signer, read(path), now or _now(), days)


def _with_next_list(book: Ledger, now: datetime.datetime) -> Ledger:
    """Dated at least a second after the last list, and an hour ago, so that the date is not in the future."""
    issued_s = max(int(now.timestamp()) - 3600, book.list_issued_s + 1)
    return replace(book, list_number=book.list_number + 1, list_issued_s=issued_s)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
