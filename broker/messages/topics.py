"""Topics on the broker: which topic carries which kind of message, and which names are allowed.

    tflsplit/v1/<deployment>/<device>/<kind>

The device stands before the kind so that a broker's access rules can be one pattern per device.
"""

import enum
import re

from tflsplit import arguments, errors
from tflsplit.values.classes import dataclass

ROOT = "tflsplit/v1"

# Where Home Assistant looks for devices by default.
DISCOVERY_PREFIX = "homeassistant"

# No `/ + # $` (they mean something to a broker), no spaces, ASCII only (access rules and shells stumble over the rest).
# A letter or digit first: names become folders, and options of commands.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class Kind(str, enum.Enum):
    """The last level of a topic. `STATUS`, `BIRTH`, `SERVES` and `MARK` are retained.

    `ACKS` tells a device that wants no results which of its frames are answered; `DEAD` carries the frames that no
    cloud could process, with the reason. On `SERVES` a cloud tells which packages it answers. Machines that share a
    model send each other `PARTS` of tensors; `EPOCH` and `SHARE` are retained (`broker.messages.peers`).
    `LOAD` of a cloud and `PICTURE` of a device are for people who watch, where they are switched on. A cloud's `MARK`
    is for itself, to learn what a broker had saved (`broker.transport.repeats`).
    """

    FEATURES = "features"
    RESULTS = "results"
    STATUS = "status"
    BIRTH = "birth"
    TELEMETRY = "telemetry"
    CONTROL = "control"
    ACKS = "acks"
    DEAD = "dead"
    SERVES = "serves"
    PARTS = "parts"
    EPOCH = "epoch"
    SHARE = "share"
    LOAD = "load"
    PICTURE = "picture"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Topic:
    """A parsed topic; `str()` gives the topic's name on the broker."""

    deployment: str
    device: str
    kind: Kind

    def __post_init__(self) -> None:
        check_name("deployment", self.deployment)
        check_name("device", self.device)

    def __str__(self) -> str:
        return f"{ROOT}/{self.deployment}/{self.device}/{self.kind.value}"


def check_name(what: str, name: str) -> str:
    """Returns `name` if it is allowed; `what` says in the SettingsError whether it is of a deployment or a device."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        arguments.text(name, what)
        raise errors.SettingsError(
            f"{what} name {name!r}: allowed are 1 to 64 of the characters A-Z a-z 0-9 . _ -, a letter or digit first"
        )
    return name


def topic(deployment: str, device: str, kind: Kind) -> str:
    return str(Topic(deployment, device, kind))


def every_device(deployment: str, kind: Kind, *, share: str | None = None) -> str:
    """The filter for one kind of message of all devices of a deployment. With a `share`, the broker gives each message
    to one subscriber of that group."""
    group = "" if share is None else f"$share/{check_name('share', share)}/"
    return f"{group}{ROOT}/{check_name('deployment', deployment)}/+/{kind.value}"


def discovery(deployment: str, device: str, prefix: str = DISCOVERY_PREFIX) -> str:
    """The discovery topic of a device for Home Assistant; SettingsError for a name that Home Assistant refuses."""
    name = f"{check_name('deployment', deployment)}-{check_name('device', device)}"
    if "." in name:
        raise errors.SettingsError(f"Home Assistant takes no dots in names: {deployment} and {device} must have none")
    return f"{prefix}/device/tflsplit-{name}/config"


def parse(name: str) -> Topic:
    """The parts of one of our topics; FrameError for any other topic, because it comes from a peer."""
    levels = name.split("/")
    if len(levels) != 5 or "/".join(levels[:2]) != ROOT:
        raise errors.FrameError(f"topic {name!r}: expected {ROOT}/<deployment>/<device>/<kind>")
    try:
        return Topic(levels[2], levels[3], Kind(levels[4]))
    except (ValueError, errors.SettingsError) as problem:
        raise errors.FrameError(f"topic {name!r}: {problem}") from problem
