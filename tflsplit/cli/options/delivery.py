"""The options that say what is promised about an edge's frames, and where they wait for it."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors, quantities

if TYPE_CHECKING:  # an edge without a spool starts without SQLite
    from edge_runtime.delivery.spool import Spool


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """What was said on the command line; `said` holds the given fields of `edge_runtime.delivery.settings.Settings`."""

    said: dict[str, Any]
    folder: Path | None
    limits: dict[str, Any]

    def __post_init__(self) -> None:
        is_latest = self.said.get("delivery") == "latest"
        if self.folder is not None and is_latest:
            raise errors.SettingsError(f"--spool {self.folder} with --delivery latest: it keeps nothing, leave one out")
        if self.folder is None and self.limits:
            raise errors.SettingsError(f"--spool-{min(self.limits)} says how a spool is kept: give --spool DIR as well")
        if "max_age_s" in self.said and not is_latest:
            raise errors.SettingsError("--max-age is for --delivery latest; a spool forgets by --spool-age")

    def settings(self) -> dict[str, Any]:
        from edge_runtime.delivery.settings import Delivery, Until

        kinds: dict[str, Callable[[str], Any]] = {"delivery": Delivery, "until": Until}
        return {name: kinds[name](value) if name in kinds else value for name, value in self.said.items()}

    @contextmanager
    def spool(self, deployment: str, device: str) -> "Iterator[Spool | None]":
        """The spool that was named, opened until the block ends."""
        if self.folder is None:
            yield None
            return
        from edge_runtime.delivery import spool as delivery_spool

        with delivery_spool.open_spool(
            self.folder, delivery_spool.limits(**self.limits), deployment=deployment, device=device
        ) as opened:
            yield opened


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command `delivering`, a `DeliveryOptions`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(*args: Any, **given: Any) -> Any:
        said = {name: given.pop(name) for name in (*_SETTINGS, "spool", *_LIMITS)}
        return function(*args, delivering=of(said), **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def of(said: Mapping[str, Any]) -> DeliveryOptions:
    """From the values of the options; SettingsError where they do not go together."""
    return DeliveryOptions(_given(said, {name: name for name in _SETTINGS}), said["spool"], _given(said, _LIMITS))


def _given(said: Mapping[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {name: said[option] for option, name in names.items() if said[option] is not None}


class _Quantity(click.ParamType[Any]):
    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except errors.SettingsError as problem:
            self.fail(str(problem), param, ctx)


_SECONDS = _Quantity("seconds", quantities.parse_duration)

# Each is one of `edge_runtime.delivery.settings.Settings`; what is not given is left to that, or to the plan.
_SETTINGS = ("delivery", "until", "window", "qos", "resend_after_s", "max_age_s", "drain_s")
# Option of the command to argument of `edge_runtime.delivery.spool.limits`.
_LIMITS = {"spool_bytes": "bytes", "spool_age": "age_s", "spool_full": "full", "spool_sync": "sync"}

_OPTIONS = (
    click.option(
        "--delivery",
        type=click.Choice(["all", "latest"]),
        help="all: every frame matters; latest: fresh ones do, at QoS 0. Default: all.",
    ),
    click.option(
        "--until",
        type=click.Choice(["result", "ack"]),
        help="What a frame is kept for: its result, or the cloud's acknowledgement, which is smaller. Default: result.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 4096),
        help="Frames that may be unanswered at a time. Default: the plan's, else 8.",
    ),
    click.option("--qos", type=click.IntRange(0, 1), help="MQTT quality of service. Default: 1, with latest 0."),
    click.option("--resend-after", "resend_after_s", type=_SECONDS, help="Seconds before sending again. Default: 5s."),
    click.option("--max-age", "max_age_s", type=_SECONDS, help="With latest: frames older are dropped. Default: 2s."),
    click.option("--drain", "drain_s", type=_SECONDS, help="At the end, how long to wait for an answer. Default: 30s."),
    click.option(
        "--spool",
        type=click.Path(path_type=Path, writable=True),
        metavar="DIR",
        help="Keep frames on disk until they are answered, through restarts and power cuts.",
    ),
    click.option(
        "--spool-bytes",
        type=_Quantity("size", quantities.parse_bytes),
        help="Most that the spool may hold, as 512M. Default: 1G.",
    ),
    click.option("--spool-age", type=_SECONDS, help="Drop spooled frames that are older, as 7d; 0: never. Default: 0."),
    click.option(
        "--spool-full",
        type=click.Choice(["block", "drop-oldest", "drop-newest"]),
        help="What to do when the spool or its disk is full. Default: block.",
    ),
    click.option(
        "--spool-sync",
        type=click.Choice(["frame", "none"]),
        help="Wait for the disk at each frame, or leave it to the system and risk the last ones. Default: frame.",
    ),
)
