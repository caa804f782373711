"""Where a RabbitMQ is, as its tools write it: `amqp://[user[:password]@]host[:port][/vhost]`, `amqps://` for TLS."""

import urllib.parse

from broker.transport import address
from broker.transport.address import Address
from tflsplit import errors
from tflsplit.values.classes import dataclass, field

_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class AmqpAddress:
    """`str()` of it is fit for logs. `password` is None unless the address held one, as RabbitMQ's own secrets do."""

    address: Address
    vhost: str = "/"
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return str(self.address) if self.vhost == "/" else f"{self.address}/{self.vhost}"


def parse(url: str) -> AmqpAddress:
    """SettingsError for anything else, which is not repeated beyond its host: a password may be in it."""
    scheme, separator, rest = url.strip().partition("://")
    shape = "amqp://[user@]host[:port][/vhost] or amqps://…"
    if not separator or scheme not in _PORTS:
        raise errors.SettingsError(f"queue: expected {shape}")
    try:
        parts = urllib.parse.urlsplit(f"//{rest}")
        host, port, user, password = parts.hostname, parts.port, parts.username, parts.password
    except ValueError as problem:
        expected = address.brackets(scheme, rest) or f"expected {shape}"
        raise errors.SettingsError(f"queue: its host or port is none ({scheme}://…): {expected}") from problem
    if lacking := address.brackets(scheme, rest):
        raise errors.SettingsError(f"queue: {lacking}")
    vhost = parts.path.removeprefix("/")
    if not host or "/" in vhost or parts.query or parts.fragment or port == 0 or (password and not user):
        raise errors.SettingsError(f"queue at {host or 'no host'}: expected {shape}; a / in the vhost is written %2F")
    return AmqpAddress(
        Address(host, port or _PORTS[scheme], _decoded(user), tls=scheme == "amqps"),
        urllib.parse.unquote(vhost) or "/",
        _decoded(password),
    )


def _decoded(part: str | None) -> str | None:
    return urllib.parse.unquote(part) if part else None
