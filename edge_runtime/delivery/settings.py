"""How an edge runs: what it promises about its frames, how many may be under way, and how long it waits."""

import enum
from dataclasses import dataclass, fields

from broker.messages import topics
from tflsplit import errors
from tflsplit.coding.input_codec import InputCodec


class Delivery(str, enum.Enum):
    """`LATEST`: only fresh frames matter, old ones are dropped and counted. `ALL`: every frame matters."""

    LATEST = "latest"
    ALL = "all"


class Until(str, enum.Enum):
    """What a frame is kept for: its result, or the cloud's acknowledgement, which is a tenth of its size."""

    RESULT = "result"
    ACK = "ack"


# What a run under way can take over from new settings.
CHANGEABLE = ("rate_fps", "window", "resend_after_s", "max_age_s")


@dataclass(frozen=True, slots=True)
class Settings:
    """`count` frames, then it ends (None: until the source does); at most `rate_fps` a second.

    `window` frames may be unanswered. With `ALL` one unanswered for `resend_after_s` is sent again, later each time;
    at the end the edge waits for answers until none came for `drain_s`. With `LATEST` a frame older than `max_age_s` is
    given up. `qos` None is 0 with `LATEST`, else 1. `input_codec` says how the input travels at the cut `input` (None:
    as stored); pixels, raw or as JPEG, need a source that gives them.
    """

    deployment: str
    device: str
    boot: int
    delivery: Delivery = Delivery.ALL
    until: Until = Until.RESULT
    qos: int | None = None
    window: int = 8
    count: int | None = None
    rate_fps: float | None = None
    resend_after_s: float = 5.0
    # A broker counts a message's life in whole seconds, and a packet lost by TCP may cost one: less would drop frames
    # that a healthy link delivers.
    max_age_s: float = 2.0
    drain_s: float = 30.0
    input_codec: InputCodec | None = None

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        topics.check_name("device", self.device)
        if self.qos not in (None, 0, 1):
            raise errors.SettingsError(f"QoS {self.qos}: frames travel at QoS 0 or 1")
        if self.qos == 1 and self.delivery is Delivery.LATEST:
            raise errors.SettingsError(
                "QoS 1 with delivery latest: it sends nothing twice, leave the QoS out or give 0"
            )
        if not 1 <= self.window <= 4096:
            raise errors.SettingsError(f"window of {self.window} frames: give 1 to 4096")
        if self.count is not None and self.count < 1:
            raise errors.SettingsError(f"count of {self.count} frames: give at least 1")
        if self.rate_fps is not None and not self.rate_fps > 0:
            raise errors.SettingsError(f"rate of {self.rate_fps} frames a second: give more than 0")
        if not self.resend_after_s > 0:
            raise errors.SettingsError(f"sending again after {self.resend_after_s} s: give more than 0")
        if not self.max_age_s > 0:
            raise errors.SettingsError(f"frames of at most {self.max_age_s} s: give more than 0")
        if not self.drain_s >= 0:
            raise errors.SettingsError(f"waiting {self.drain_s} s for the last answers: give 0 or more")

    @property
    def frame_qos(self) -> int:
        if self.qos is not None:
            return self.qos
        return 0 if self.delivery is Delivery.LATEST else 1

    @property
    def answers(self) -> topics.Kind:
        """The topic on which the answers to our frames come."""
        return topics.Kind.ACKS if self.until is Until.ACK else topics.Kind.RESULTS

    def check_may_become(self, other: "Settings") -> None:
        """SettingsError naming what differs and takes a restart."""
        fixed = [
            field.name
            for field in fields(self)
            if field.name not in CHANGEABLE and getattr(self, field.name) != getattr(other, field.name)
        ]
        if fixed:
            raise errors.SettingsError(
                f"{', '.join(fixed)} cannot change while the edge runs: restart it; "
                f"these can change: {', '.join(CHANGEABLE)}"
            )
