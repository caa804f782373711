"""Names on the broker: who may be called what, and which topic carries which kind of message.

    tflsplit/v1/<deployment>/<device>/<kind>

The device stands before the kind so that a broker's access rules can be one pattern per device.
"""

import enum
import re
from dataclasses import dataclass

from tflsplit import errors

ROOT = "tflsplit/v1"

# Where Home Assistant looks for devices, unless it was told to look elsewhere.
DISCOVERY_PREFIX = "homeassistant"

# No `/ + # $` (they mean something to a broker), no spaces, ASCII only (access rules and shells stumble over the rest).
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Kind(str, enum.Enum):
    """The last level of a topic. `STATUS` and `BIRTH` are retained.

    `ACKS` tells a device that wants no results back which of its frames are done with; `DEAD` holds the frames that no
    cloud could process, with the reason.
    """

    FEATURES = "features"
    RESULTS = "results"
    STATUS = "status"
    BIRTH = "birth"
    TELEMETRY = "telemetry"
    CONTROL = "control"
    ACKS = "acks"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic taken apart; `str()` of it is what the broker sees."""

    deployment: str
    device: str
    kind: Kind

    def __post_init__(self) -> None:
        check_name("deployment", self.deployment)
        check_name("device", self.device)

    def __str__(self) -> str:
        return f"{ROOT}/{self.deployment}/{self.device}/{self.kind.value}"


def check_name(what: str, name: str) -> str:
    """`name` itself if a deployment or device may be called so; `what` says in the error which of them it is."""
    if _NAME.fullmatch(name) is None:
        raise errors.SettingsError(f"{what} name {name!r}: allowed are 1 to 64 of the characters A-Z a-z 0-9 . _ -")
    return name


def topic(deployment: str, device: str, kind: Kind) -> str:
    return str(Topic(deployment, device, kind))


def every_device(deployment: str, kind: Kind, *, share: str | None = None) -> str:
    """The subscription filter for one kind of message from all devices of a deployment. With a `share`, the broker
    gives each message to one member of the group of that name."""
    group = "" if share is None else f"$share/{check_name('share', share)}/"
    return f"{group}{ROOT}/{check_name('deployment', deployment)}/+/{kind.value}"


def whole_deployment(deployment: str) -> str:
    """The subscription filter for everything that a deployment says."""
    return f"{ROOT}/{check_name('deployment', deployment)}/#"


def discovery(deployment: str, device: str, prefix: str = DISCOVERY_PREFIX) -> str:
    """Where a device tells Home Assistant what it is; SettingsError for a name that it takes in no topic."""
    name = f"{check_name('deployment', deployment)}-{check_name('device', device)}"
    if "." in name:
        raise errors.SettingsError(f"Home Assistant takes no dots in names: {deployment} and {device} must have none")
    return f"{prefix}/device/tflsplit-{name}/config"


def parse(name: str) -> Topic:
    """The parts of a topic of ours; FrameError for any other, since only a peer can have sent it."""
    levels = name.split("/")
    if len(levels) != 5 or "/".join(levels[:2]) != ROOT:
        raise errors.FrameError(f"topic {name!r}: expected {ROOT}/<deployment>/<device>/<kind>")
    try:
        return Topic(levels[2], levels[3], Kind(levels[4]))
    except (ValueError, errors.SettingsError) as problem:
        raise errors.FrameError(f"topic {name!r}: {problem}") from problem
