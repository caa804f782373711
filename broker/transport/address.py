"""A broker's address, `mqtt://[user@]host[:port]` or `mqtts://` for TLS, and the credentials for it; and of several
brokers the one that a device is at.
"""

import hashlib
import re
import ssl
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from tflsplit import arguments, errors
from tflsplit.values.classes import dataclass, field

_PORTS = {"mqtt": 1883, "mqtts": 8883}

# Schemes of direct links between machines (`broker.zenoh.address`), for which there is no broker.
DIRECT = ("zenoh", "zenohs", "box")

_BARE_IPV6 = re.compile(r"\[?[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%\w+)?\]?(:\d+)?")


@dataclass(frozen=True, slots=True)
class Address:
    """`str()` of it never contains a password, so it may be logged."""

    host: str
    port: int
    user: str | None = None
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """`ca` replaces the system's certificate authorities; `certificate` and `key` are ours (PEM files)."""

    password: str | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if self.key is not None and self.certificate is None:
            raise errors.SettingsError(f"TLS key {self.key}: a certificate goes with it")

    @property
    def has_files(self) -> bool:
        return any((self.ca, self.certificate, self.key))

    def check_fit(self, address: Address) -> None:
        """SettingsError for credentials that would not be used at this address."""
        if self.has_files and not address.tls:
            raise errors.SettingsError(f"broker {address}: certificates are for TLS; give its address as mqtts://")
        if self.password is not None and address.user is None:
            raise errors.SettingsError(f"broker {address}: a password needs a user name: mqtts://user@{address}")

    def ssl_context(self) -> ssl.SSLContext:
        """SettingsError if a file is missing or is no certificate."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.key, password=_no_passphrase)
        except (OSError, ssl.SSLError) as problem:
            files = ", ".join(str(file) for file in (self.ca, self.certificate, self.key) if file)
            raise errors.SettingsError(f"TLS files {files}: {problem}") from problem
        return context


def _no_passphrase() -> str:
    """Refuses an encrypted key: OpenSSL would ask for a passphrase on the terminal, and a service would hang."""
    raise errors.SettingsError("the TLS key is encrypted with a passphrase; give one that is not")


def is_direct(url: str | None) -> bool:
    """Whether this is an address for direct links, and not that of a broker."""
    return url is not None and url.partition("://")[0] in DIRECT


def parse(url: str) -> Address:
    """SettingsError for anything that is no broker address, or contains a password, which the message leaves out."""
    scheme, separator, rest = arguments.text(url, "broker").partition("://")
    if scheme in DIRECT:
        raise errors.SettingsError(f"{scheme}://{rest}: this needs a broker (mqtt://…); a direct link has none")
    if not separator or scheme not in _PORTS:
        raise errors.SettingsError(f"broker {_without_secret(url)!r}: expected mqtt://[user@]host[:port] or mqtts://…")
    try:
        parts = urllib.parse.urlsplit(f"//{rest}")
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError as problem:
        reason = brackets(scheme, rest) or str(problem)
        raise errors.SettingsError(f"broker {_without_secret(url)!r}: {reason}") from problem
    if lacking := brackets(scheme, rest):
        raise errors.SettingsError(f"broker {_without_secret(url)!r}: {lacking}")
    if password is not None:
        raise errors.SettingsError(
            f"broker {_without_secret(url)!r}: a password in the address would be seen in process lists and logs; "
            "give it in a file, with --password-file FILE"
        )
    if not host or parts.path not in ("", "/") or parts.query or parts.fragment or port == 0:
        raise errors.SettingsError(f"broker {_without_secret(url)!r}: expected {scheme}://[user@]host[:port]")
    return Address(host, port or _PORTS[scheme], urllib.parse.unquote(user) if user else None, scheme == "mqtts")


def parse_all(urls: Sequence[str]) -> tuple[Address, ...]:
    """The brokers of one deployment. SettingsError for an empty entry, and for a broker that is named twice."""
    if not all(url.strip() for url in urls):
        raise errors.SettingsError(f"brokers {', '.join(map(repr, urls))}: one of them is empty; leave it out")
    found = tuple(map(parse, urls))
    names = [str(each) for each in found]
    for name in names:
        if names.count(name) > 1:
            raise errors.SettingsError(f"broker {name} is named twice among {', '.join(urls)}: name each of them once")
    return found


def assigned(brokers: Sequence[str], device: str) -> int:
    """The place among the names of brokers (host:port) of the one that a device is at, by its name alone: whoever knows
    the same brokers, in whatever order, finds the same. Another broker takes an equal part of the devices of each, and
    moves no others (rendezvous hashing: Thaler and Ravishankar 1998, doi 10.1109/90.663936)."""

    def weight(place: int) -> bytes:
        return hashlib.blake2b(f"{brokers[place]}/{device}".encode(), digest_size=8).digest()

    return max(range(len(brokers)), key=weight)


def brackets(scheme: str, rest: str) -> str | None:
    """What to write in place of an IPv6 address that lacks a bracket; None if that is not what is wrong."""
    host = rest.rpartition("@")[2].partition("/")[0]
    if (host.startswith("[") and "]" in host) or not _BARE_IPV6.fullmatch(host):
        return None
    return (
        f"an IPv6 address stands in brackets, its port behind them: {scheme}://[2001:db8::1]:{_PORTS.get(scheme, 5672)}"
    )


def _without_secret(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{host}"
