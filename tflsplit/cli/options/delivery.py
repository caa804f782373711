"""The options about delivery: which frames an edge must deliver, how long it waits, and its spool on disk."""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tflsplit import errors
from tflsplit.cli.options import units
from tflsplit.kernels.heads import Exact
from tflsplit.values.classes import dataclass

if TYPE_CHECKING:  # an edge without a spool starts without SQLite
    from edge_runtime.delivery.durable.spool import Spool


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """The values of the options. `fields` are those of `edge_runtime.delivery.settings.Settings` that were given,
    `folder` and `limits` are about the spool."""

    fields: dict[str, Any]
    folder: Path | None
    limits: dict[str, Any]

    def __post_init__(self) -> None:
        is_latest = self.fields.get("delivery") == "latest"
        if self.folder is not None and is_latest:
            raise errors.SettingsError(f"--spool {self.folder} with --delivery latest: it keeps nothing, leave one out")
        if self.folder is None and self.limits:
            raise errors.SettingsError(f"--spool-{min(self.limits)} says how a spool is kept: give --spool DIR as well")
        if "max_age_s" in self.fields and not is_latest:
            raise errors.SettingsError("--max-age is for --delivery latest; frames in a spool expire by --spool-age")

    def check_batch(self, *, moves_models: bool, planned: int = 1) -> None:
        """SettingsError for what does not go together with frames of several inputs, by --batch or as a plan says."""
        batch = self.fields.get("batch", planned)
        if "batch_wait_s" in self.fields and batch == 1:
            raise errors.SettingsError("--batch-wait says how long a frame waits for its inputs: give --batch as well")
        if batch > 1 and moves_models:
            raise errors.SettingsError(
                f"{'--batch' if 'batch' in self.fields else 'a plan of batches'} with --models: heads for several "
                "inputs keep their package; leave one out"
            )

    def settings(self) -> dict[str, Any]:
        from edge_runtime.delivery.settings import Delivery, Until

        kinds: dict[str, Callable[[str], Any]] = {"delivery": Delivery, "until": Until, "exact": Exact}
        return {name: kinds[name](value) if name in kinds else value for name, value in self.fields.items()}

    @contextmanager
    def spool(self, deployment: str, device: str) -> "Iterator[Spool | None]":
        """The spool in --spool, open until the block ends; None without it."""
        if self.folder is None:
            yield None
            return
        from edge_runtime.delivery.durable import spool as delivery_spool

        with delivery_spool.open_spool(
            self.folder, delivery_spool.limits(**self.limits), deployment=deployment, device=device
        ) as opened:
            yield opened


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command the argument `delivery_options`."""

    @functools.wraps(function)  # and with it the options that it has already
    def command(*args: Any, **given: Any) -> Any:
        values = {name: given.pop(name) for name in (*_SETTINGS, "spool", *_LIMITS)}
        return function(*args, delivery_options=of(values), **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def of(values: Mapping[str, Any]) -> DeliveryOptions:
    """From the values of the options; SettingsError where they exclude each other."""
    return DeliveryOptions(_given(values, {name: name for name in _SETTINGS}), values["spool"], _given(values, _LIMITS))


def _given(values: Mapping[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {name: values[option] for option, name in names.items() if values[option] is not None}


# Fields of `edge_runtime.delivery.settings.Settings`; one that is not given has the plan's value, or the default there.
_SETTINGS = (
    "delivery",
    "until",
    "window",
    "qos",
    "resend_after_s",
    "max_age_s",
    "drain_s",
    "exact",
    "batch",
    "batch_wait_s",
    "wants_mask",
)
# The options about the spool, with the argument of `edge_runtime.delivery.durable.spool.limits` that each sets.
_LIMITS = {"spool_bytes": "bytes", "spool_age": "age_s", "spool_full": "full", "spool_sync": "sync"}

_OPTIONS = (
    click.option(
        "--delivery",
        type=click.Choice(["all", "latest"]),
        help="all: every frame must get its result. latest: old frames are dropped in favour of new ones, and sent at "
        "QoS 0. Default: all.",
    ),
    click.option(
        "--until",
        type=click.Choice(["result", "ack"]),
        help="How long a frame is kept to be sent again: until its result is here, or until the cloud's "
        "acknowledgement is, which is smaller. Default: result.",
    ),
    click.option(
        "--window",
        type=click.IntRange(1, 4096),
        help="Frames that may be sent and have no answer yet. Default: the plan's, else 8.",
    ),
    click.option(
        "--qos",
        type=click.IntRange(0, 1),
        help="MQTT quality of service for frames. Default: 1; with --delivery latest 0.",
    ),
    click.option(
        "--resend-after",
        "resend_after_s",
        type=units.TIME,
        help="Wait so long for an answer before a frame is sent again. Default: 5s.",
    ),
    click.option(
        "--max-age",
        "max_age_s",
        type=units.TIME,
        help="With --delivery latest: frames older than this are dropped. Default: 2s.",
    ),
    click.option(
        "--drain",
        "drain_s",
        type=units.TIME,
        help="When the edge stops: longest wait for missing answers, counted from the stop and anew from each answer "
        "after it. Default: 30s.",
    ),
    click.option(
        "--batch",
        type=click.IntRange(1, 64),
        help="Inputs that one frame holds. The head runs on all of them at once, and each has a result of its own. "
        "Default: 1.",
    ),
    click.option(
        "--batch-wait",
        "batch_wait_s",
        type=units.TIME,
        help="With --batch: send a frame that is not full so long after its first input was captured. Default: wait "
        "until it is full or the source ends.",
    ),
    click.option(
        "--mask",
        "wants_mask",
        is_flag=True,
        default=None,
        help="Of a model that segments: results have the class of each place as well, as a PNG (key `mask`).",
    ),
    click.option(
        "--exact",
        type=click.Choice([wish.value for wish in Exact]),
        help="Whether this device and the cloud must compute alike, bit for bit. require: send nothing until a cloud "
        "says that they do, and end where one does not. prefer: warn. any: say nothing. Default: prefer.",
    ),
    click.option(
        "--spool",
        type=click.Path(path_type=Path, writable=True),
        metavar="DIR",
        help="Keep frames in this folder until they are answered, so that a restart or a power cut loses none.",
    ),
    click.option(
        "--spool-bytes",
        type=units.SIZE,
        help="Most bytes that the spool may hold, for example 512M. Default: 1G.",
    ),
    click.option(
        "--spool-age",
        type=units.TIME,
        help="Frames in the spool that are older than this are dropped, for example 7d; 0 means never. Default: 0.",
    ),
    click.option(
        "--spool-full",
        type=click.Choice(["block", "drop-oldest", "drop-newest"]),
        help="When the spool or its disk is full: stop taking new frames (block), or drop frames. Default: block.",
    ),
    click.option(
        "--spool-sync",
        type=click.Choice(["frame", "none"]),
        help="frame: each frame is on the disk before it is sent. none: the system decides when to write; a power "
        "cut may lose the last frames. Default: frame.",
    ),
)
