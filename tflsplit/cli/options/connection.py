"""The options of every command that talks to a broker, and the connection they describe."""

import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import tflsplit
from tflsplit import errors
from tflsplit.cli.options import units
from tflsplit.values.classes import dataclass, field

_log = logging.getLogger(__name__)

if TYPE_CHECKING:  # they need paho and numpy, which `tflsplit doctor` may be run to find missing
    from broker.messages.topics import Kind
    from broker.transport import protocol
    from broker.transport.address import Address, Credentials
    from broker.transport.credentials import Role
    from broker.watching.listener import Listener
    from broker.zenoh.address import Meeting
    from edge_runtime.delivery.settings import Settings
    from edge_runtime.sources.topic import Connect
    from edge_runtime.sources.words import Subscription


@dataclass(frozen=True, slots=True)
class Broker:
    """The values of the options about the broker. Files are read by `resolve` only."""

    urls: tuple[str, ...] = ()
    folder: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    password_file: Path | None = None
    keepalive_s: int | None = field(default=None, kw_only=True)

    @property
    def is_given(self) -> bool:
        return bool(self.urls) or self.folder is not None

    def resolve(
        self, speaker: tuple[str, str] | None = None, *, role: "Role | None" = None, reads: str | None = None
    ) -> "tuple[tuple[Address, ...], Credentials]":
        """The brokers to connect to and the credentials for them. --broker overrides the addresses in --credentials.

        `speaker` is (deployment, name) of who connects, and `role` what it has to be; `reads` is the deployment of a
        program that only reads results. SettingsError if the folder was made for somebody else, UsageError if neither
        option is given.
        """
        from broker.transport import address
        from broker.transport import credentials as transport_credentials

        self._check_one_kind()
        if self.folder is not None:
            return transport_credentials.of_speaker(self.folder, speaker, role=role, reads=reads, urls=self.urls)
        if not self.urls:
            raise click.UsageError("Missing option '--broker', or '--credentials', which names one.")
        where, proof = transport_credentials.chosen(address.parse_all(self.urls), speaker, role), self._proof()
        for each in where:
            proof.check_fit(each)
        return where, proof

    def resolve_direct(
        self, speaker: tuple[str, str] | None = None, *, role: "Role | None" = None, reads: str | None = None
    ) -> "tuple[Meeting, Credentials] | None":
        """The same for an address of direct links; None where --broker is none."""
        from broker.transport import address as broker_address

        if len(self.urls) != 1 or not broker_address.is_direct(self.urls[0]):
            return None
        from broker.transport import credentials
        from broker.zenoh import address, settings

        self._check_one_kind()
        meeting = address.parse(self.urls[0])
        if self.folder is None:
            proof = self._proof()
        else:
            proof = credentials.open_for(self.folder, speaker, role=role, reads=reads).credentials
        settings.check(meeting, proof)
        return meeting, proof

    def of_pictures(self, speaker: tuple[str, str], role: "Role | None" = None, *, waits: bool = True) -> "Connect":
        """How a source reads pictures of a topic: on the broker that the options name, or on one of its own. Without a
        `role` for a device."""

        def connect(wanted: "Subscription") -> "protocol.Transport":
            from broker.transport.credentials import Role
            from tflsplit.api import connections

            whose = role or Role.DEVICE

            def own() -> "connections.Reached":
                return self.resolve_direct(speaker, role=whose) or self.resolve(speaker, role=whose)

            return connections.of_pictures(own, speaker, waits=waits)(wanted)

        return connect

    def _check_one_kind(self) -> None:
        if self.folder is not None and any((self.ca, self.certificate, self.key, self.password_file)):
            raise errors.SettingsError("--credentials holds certificates and password: give it, or them one by one")

    def _proof(self) -> "Credentials":
        from broker.transport import address, credentials

        password = credentials.read_password(self.password_file) if self.password_file else None
        return address.Credentials(password, self.ca, self.certificate, self.key)

    def deployment(self, typed: str | None) -> str:
        """The one that was typed, else that of --credentials; UsageError without either."""
        found = typed or self._bundled("deployment")
        if found is None:
            raise click.UsageError("Missing option '--deployment', or '--credentials', which names one.")
        return found

    def name(self, typed: str | None, *, default: str | None = None) -> str:
        """The name of who connects: the one that was typed, else that of --credentials, else `default`; UsageError
        without any, for a device has none by default."""
        found = typed or self._bundled("name") or default
        if found is None:
            raise click.UsageError("Missing option '--device', or '--credentials', which names one.")
        return found

    def _bundled(self, what: str) -> str | None:
        from broker.transport import credentials

        return None if self.folder is None else str(getattr(credentials.open_bundle(self.folder), what))

    def reader_id(self, deployment: str, reader: str, device: str | None) -> str:
        """For a session that the broker keeps: always the same, and not to be guessed by others who are let in. Without
        a folder of credentials nothing secret outlives the process, and the names have to do."""
        from broker.transport import credentials

        secret = credentials.open_bundle(self.folder).session if self.folder else ""
        return "-".join(filter(None, ("tflsplit", deployment, "results", reader, device, secret)))


class OneOrMore(click.Option):
    """A repeatable option that stands in a file as a list, or alone."""

    def __init__(self, words: Sequence[str], **more: Any) -> None:
        super().__init__(words, multiple=True, **more)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the arguments `broker` and `deployment`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(*args: Any, broker: Broker, deployment: str | None, **others: Any) -> Any:
        return function(*args, broker=broker, deployment=broker.deployment(deployment), **others)

    return broker_options(
        click.option(
            "--deployment",
            help="Name of the deployment; its edges and clouds have the same. Default: that of --credentials.",
        )(command),
    )


def broker_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `broker`, a `Broker`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(
        *args: Any,
        urls: tuple[str, ...],
        credentials: Path | None,
        ca: Path | None,
        cert: Path | None,
        key: Path | None,
        password_file: Path | None,
        keepalive: int | None,
        **others: Any,
    ) -> Any:
        named = Broker(urls, credentials, ca, cert, key, password_file, keepalive_s=keepalive)
        return function(*args, broker=named, **others)

    # Whether it can be read is found out by reading it: a service is shown a copy of one that it cannot read itself.
    file = click.Path(path_type=Path, readable=False)
    for option in (
        click.option(
            "--keepalive",
            type=units.time(least="1s", most="1h", is_whole=True),
            help="Time without a message after which the broker is pinged; without an answer the connection is made "
            "anew half as long later. Default: 5s for a cloud and for results, and with --delivery latest, else 20s.",
        ),
        click.option(
            "--password-file",
            type=file,
            metavar="FILE",
            help="File with the password of the user in --broker, on its first line.",
        ),
        click.option("--key", type=file, metavar="FILE", help="File with the private key of --cert, as PEM."),
        click.option("--cert", type=file, metavar="FILE", help="File with the certificate of this client, as PEM."),
        click.option(
            "--ca",
            type=file,
            metavar="FILE",
            help="File with the certificate authorities to trust, as PEM. Default: those of this system.",
        ),
        click.option(
            "--credentials",
            type=file,
            metavar="DIR",
            help="Folder that `tflsplit broker init` made for this client, with the broker's address and everything "
            "else it asks for. --ca, --cert, --key and --password-file are not needed then.",
        ),
        click.option(
            "--broker",
            "urls",
            metavar="URL",
            cls=OneOrMore,
            help="Address of the broker: mqtt://[user@]host[:port], or mqtts:// for TLS. Repeat it for several: a "
            "device is at one of them, by its name. Edges, clouds and workers also take direct links: "
            "zenoh://host[:port][?listen=:port], zenohs:// for TLS, box:///folder.",
        ),
    ):
        command = option(command)
    return command


def new_boot() -> int:
    """A random number for this start, so that frames of two runs are never confused."""
    return int.from_bytes(os.urandom(8), "little")


@contextmanager
def connected(
    broker: Broker,
    deployment: str,
    device: str,
    boot: int,
    *,
    role: "Role | None" = None,
    is_second: bool = False,
    waits: bool = True,
    is_quick: bool = False,
    is_cloud: bool = False,
) -> "Iterator[protocol.Transport]":
    """A transport that is online, and says so on the device's retained status topic until the block ends.

    A second connection of the same device says nothing: the first speaks for both. Where nobody `waits`, the transport
    may come online later; if it is refused instead it is closed, and BrokerError says so at the end of the block. A
    lost connection of one that `is_quick` is noticed within seconds, unless the options say otherwise. A cloud says its
    last results again where the broker may have lost them.
    """
    from broker.transport import online
    from broker.transport.credentials import Role

    # Who pushes models reaches devices that are away, and these fetch them beside their work: a broker's doing.
    direct = None if role is Role.OPERATOR else broker.resolve_direct((deployment, device), role=role)
    where, credentials = direct or broker.resolve((deployment, device), role=role)
    if not is_second and credentials.certificate is not None:
        _warn_of_end(credentials, device)
    keepalive_s = broker.keepalive_s or (online.QUICK_KEEPALIVE_S if is_quick else online.KEEPALIVE_S)
    options = {"is_second": is_second, "waits": waits, "keepalive_s": keepalive_s, "is_cloud": is_cloud}
    with _opened(where, credentials, (deployment, device), boot, options) as made:
        yield made


def _warn_of_end(proof: "Credentials", device: str) -> None:
    from broker.links import identity

    if ends := identity.ending(proof, device):
        _log.warning(
            "certificate ends soon, and nobody connects with it then what=%s remedy=%s", ends.detail, ends.remedy
        )


def software(broker: Broker) -> dict[str, object]:
    """What a birth tells of this installation: its version, and when its certificate ends, in s since the epoch."""
    _, credentials = broker.resolve_direct() or broker.resolve()
    ends_s = None
    if credentials.certificate is not None:
        from broker.links import identity

        ends_s = identity.ends_s(credentials)
    return {"version": tflsplit.__version__, "certificate_ends_s": ends_s}


def _opened(
    where: "tuple[Address, ...] | Meeting",
    proof: "Credentials",
    speaker: tuple[str, str],
    boot: int,
    options: dict[str, Any],
) -> "AbstractContextManager[protocol.Transport]":
    if isinstance(where, tuple):
        from broker.mqtt import online as mqtt_online

        return mqtt_online.connected(where, proof, speaker, boot, **options)
    from broker.zenoh import online

    return online.connected(where, proof, speaker, boot, **options)


def of_edge(broker: Broker, settings: "Settings", *, waits: bool) -> "AbstractContextManager[protocol.Transport]":
    from broker.transport.credentials import Role

    name, role = (settings.deployment, settings.device), Role.DEVICE
    return connected(broker, *name, settings.boot, role=role, waits=waits, is_quick=settings.is_latest)


@contextmanager
def listening(broker: Broker, deployment: str, kinds: "Sequence[Kind] | None" = None) -> "Iterator[Listener]":
    """A listener that is connected and has not begun; it hears everything, or only messages of some kinds."""
    from broker.watching import listener

    with reading(broker, deployment, "watch") as connected:
        kinds = (*listener.RETAINED, *listener.LIVE) if kinds is None else kinds
        with listener.Listener(connected, deployment, kinds) as made:
            yield made


@contextmanager
def reading(broker: Broker, deployment: str, what: str) -> "Iterator[protocol.Transport]":
    """A connection of one who only listens, with room for all that a broker retains of a large fleet; `what` is in its
    client id."""
    from broker.messages import topics
    from broker.mqtt import online as mqtt_online
    from broker.mqtt import transport
    from broker.transport import online
    from broker.transport.credentials import Role
    from broker.watching import listener

    topics.check_name("deployment", deployment)
    where, credentials = broker.resolve(role=Role.CONSUMER, reads=deployment)

    def to(one: "Address") -> transport.MqttTransport:
        return transport.MqttTransport(
            one,
            client_id=mqtt_online.client_id(deployment, what),
            credentials=credentials,
            keepalive_s=broker.keepalive_s or online.QUICK_KEEPALIVE_S,
            limits=listener.LIMITS,
        )

    with mqtt_online.opened(where, to) as connected:
        connected.connect()
        yield connected
