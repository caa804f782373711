"""The options for updating the model of an edge while it runs, and what they start."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from tflsplit import errors
from tflsplit.cli import cut_names
from tflsplit.cli.options import accelerator, connection
from tflsplit.graph.cuts import Cut
from tflsplit.package.reading import Package
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # an edge without updates imports none of it
    from broker.transport.protocol import Transport
    from edge_runtime.delivery.observer import Observer
    from edge_runtime.head import Head
    from edge_runtime.loop import Edge
    from edge_runtime.updates.store import Installed, Store
    from edge_runtime.updates.updater import Updater
    from tflsplit.package.signing import Verifier


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """The values of the options."""

    models: Path | None
    key: Path | None
    url_prefix: str | None

    def __post_init__(self) -> None:
        if self.key is not None and self.models is None:
            raise errors.SettingsError(f"--update-key {self.key}: give --models DIR too, the folder for models")
        if self.url_prefix is not None and self.key is None:
            raise errors.SettingsError(f"--update-url-prefix {self.url_prefix}: updates are off without --update-key")
        if self.url_prefix is not None and not self.url_prefix.startswith(("https://", "http://")):
            raise errors.SettingsError(f"--update-url-prefix {self.url_prefix}: give https://… or http://…")

    @contextmanager
    def running(self, package: Package, cut: Cut, name: tuple[str, str]) -> "Iterator[RunningUpdates]":
        """The model that the edge runs: the one pushed last, else the one it was started with.

        `name` is (deployment, device). A model on probation is given up at the next start if this run ends by the
        model's fault: it is killed, the device fails, or a bug ends it.
        """
        if self.models is None:
            yield RunningUpdates(package, cut)
            return
        from edge_runtime.updates import store

        verifier = self._verifier()
        kept = store.Store(self.models)
        is_good_end = False
        try:
            yield _running(kept, verifier, self.url_prefix, (package, cut), name)
            is_good_end = True
        except (errors.UserError, errors.PeerError, KeyboardInterrupt, click.exceptions.Exit):
            is_good_end = True
            raise
        finally:
            kept.close(is_good_end=is_good_end)

    def _verifier(self) -> "Verifier | None":
        if self.key is None:
            return None
        from tflsplit.package import signing

        return signing.open_public(self.key)


class RunningUpdates(NamedTuple):
    """The package and cut that run, and the updater that may replace them (None where updates are off)."""

    package: Package
    cut: Cut
    updater: "Updater | None" = None
    installed: "Installed | None" = None

    @property
    def observers(self) -> "Sequence[Observer]":
        return () if self.updater is None else (self.updater,)

    def rescue(self, failure: errors.DeviceError) -> "tuple[Package, Head] | None":
        return None if self.updater is None else self.updater.rescue(failure)

    @contextmanager
    def updated(
        self, edge: "Edge", head: "Head", machine: accelerator.AcceleratorOptions, broker: connection.Broker
    ) -> Iterator[None]:
        """Receives updates while the edge runs."""
        if self.updater is None:
            yield
            return
        from edge_runtime.updates import swap

        moving = edge.adaptation and edge.adaptation.lineups
        opening = moving or swap.Opening(machine.accelerator, machine.fallback())
        with closing(swap.Swap(edge, opening, swap.Model(self.package, head))) as swapping:
            settings = edge.settings
            connect = functools.partial(_connect, broker, settings.deployment, settings.device, settings.boot)
            self.updater.start(edge, swapping, self.installed, connect)
            with closing(self.updater):
                yield


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `update_options`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(
        *args: Any, models: Path | None, update_key: Path | None, update_url_prefix: str | None, **others: Any
    ) -> Any:
        return function(*args, update_options=UpdateOptions(models, update_key, update_url_prefix), **others)

    for option in (
        click.option(
            "--update-url-prefix",
            metavar="URL",
            help="Models may also be downloaded from URLs that begin with this one. Default: over the broker only.",
        ),
        click.option(
            "--update-key",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Public key (KEY.pub of `tflsplit keygen`). The edge installs models signed with its private key. "
            "Default: updates are off.",
        ),
        click.option(
            "--models",
            type=click.Path(path_type=Path, writable=True),
            metavar="DIR",
            help="Folder in which pushed models are kept. The one pushed last runs instead of PKG.",
        ),
    ):
        command = option(command)
    return command


def _running(
    kept: "Store",
    verifier: "Verifier | None",
    url_prefix: str | None,
    original: tuple[Package, Cut],
    name: tuple[str, str],
) -> RunningUpdates:
    found = kept.begin()
    package, cut = original if found is None else (found.package, found.package.cut(found.offer.cut))
    if verifier is None:
        return RunningUpdates(package, cut)
    from edge_runtime.updates import updater

    settings = updater.Settings(*name, verifier, url_prefix)
    return RunningUpdates(package, cut, updater.Updater(kept, settings, original), found)


def _connect(broker: connection.Broker, deployment: str, device: str, boot: int) -> "Transport":
    """A second connection beside the edge's own; it is made as soon as the broker can be reached."""
    from broker.mqtt import online, transport
    from broker.transport import protocol

    (where,), credentials = broker.resolve((deployment, device))
    made = transport.MqttTransport(
        where,
        client_id=online.client_id(deployment, device),
        credentials=credentials,
        limits=protocol.Limits(inbox_messages=64, inbox_bytes=16 << 20),
    )
    made.begin()
    return made


def _checked_url(context: click.Context, parameter: click.Parameter, url: str | None) -> str | None:
    from broker.messages import updates

    if url is not None and not updates.is_folder_url(url):
        raise errors.SettingsError(f"--url {url}: give the bundle's folder as https://… or http://…, and nothing else")
    return url


def offered(function: Callable[..., Any]) -> Callable[..., Any]:
    """For who offers a model to devices. Gives the command the arguments `signing_key`, `cut_name`, `bundle_url` and
    `name`."""
    for option in (
        click.option(
            "--name",
            help="Name of this operator, as given to `tflsplit broker init`. Default: that of --credentials, else "
            "operator.",
        ),
        click.option(
            "--url",
            "bundle_url",
            metavar="BASE",
            callback=_checked_url,
            help="URL of the bundle's folder on a web server. Devices download the model from it. Default: over the "
            "broker.",
        ),
        click.option(
            "--cut",
            "cut_name",
            shell_complete=cut_names.complete,
            help="Id or layer of the cut to run. Default: the cut that each device runs now.",
        ),
        click.option(
            "--sign",
            "signing_key",
            type=click.Path(path_type=Path),
            required=True,
            metavar="KEY",
            help="File with the private key that `tflsplit keygen` made.",
        ),
    ):
        function = option(function)
    return function
