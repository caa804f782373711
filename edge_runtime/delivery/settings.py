"""The settings of an edge: delivery guarantee, window, rate and time-outs."""

import enum
import secrets

from broker.messages import topics, wire
from tflsplit import arguments, errors
from tflsplit.coding.input_codec import InputCodec
from tflsplit.kernels.heads import Exact
from tflsplit.values.classes import dataclass, field, fields


class Delivery(str, enum.Enum):
    """`LATEST`: only fresh frames matter, old ones are dropped and counted. `ALL`: every frame matters."""

    LATEST = "latest"
    ALL = "all"


class Until(str, enum.Enum):
    """What a frame is kept for: its result, or the cloud's acknowledgement, which is a tenth of its size."""

    RESULT = "result"
    ACK = "ack"


# What can change while an edge runs.
CHANGEABLE = ("rate_fps", "window", "resend_after_s", "max_age_s")


@dataclass(frozen=True, slots=True)
class Settings:
    """The edge ends after `count` frames (None: with its source); it takes at most `rate_fps` frames a second.

    At most `window` frames are unanswered. With `ALL` a frame is sent again after `resend_after_s` without an answer,
    later each time; at the end the edge waits until no answer came for `drain_s`. With `LATEST` a frame older than
    `max_age_s` is given up. `qos` None is 0 with `LATEST`, else 1. `input_codec` is how the input travels at the cut
    `input` (None: as stored); raw pixels and JPEG need a source that gives pixels. `bits` is in how many bits features
    travel (None: as stored). A frame holds `batch` inputs, or fewer where the last of them does not come within
    `batch_wait_s` of the first (None: however long it takes). `boot` tells the frames of this run
    from all others of the device: one that was used before makes its answers ambiguous. `group` is a label of the
    device, by which it may be updated with others. `wants_mask` asks for the mask of a model that segments.
    """

    deployment: str
    device: str
    boot: int = field(default_factory=lambda: secrets.randbits(64))
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
    bits: int | None = None
    exact: Exact = Exact.PREFER
    batch: int = 1
    batch_wait_s: float | None = None
    group: str | None = None
    wants_mask: bool = False

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        topics.check_name("deployment", self.deployment)
        topics.check_name("device", self.device)
        if self.group is not None:
            topics.check_name("group", self.group)
        is_repeating_latest = self.qos == 1 and self.is_latest
        for is_good, problem in (
            (self.qos in (None, 0, 1), f"QoS {self.qos}: frames travel at QoS 0 or 1"),
            (
                not is_repeating_latest,
                "QoS 1 with delivery latest: it sends nothing twice, leave the QoS out or give 0",
            ),
            (1 <= self.window <= 4096, f"window of {self.window} frames: give 1 to 4096"),
            (self.count is None or self.count >= 1, f"count of {self.count} frames: give at least 1"),
            (self.rate_fps is None or self.rate_fps > 0, f"rate of {self.rate_fps} frames a second: give more than 0"),
            (self.resend_after_s > 0, f"sending again after {self.resend_after_s} s: give more than 0"),
            (self.max_age_s > 0, f"frames of at most {self.max_age_s} s: give more than 0"),
            (
                self.exact is not Exact.REQUIRE or not self.is_lossy,
                f"exact require, and {self._lossy}, which loses detail: leave one of the two out",
            ),
            (1 <= self.batch <= wire.MAX_INPUTS, f"batch of {self.batch} inputs: give 1 to {wire.MAX_INPUTS}"),
            (
                self.batch_wait_s is None or self.batch > 1,
                "batch-wait says how long a frame waits for its inputs: give a batch as well",
            ),
            (
                self.batch_wait_s is None or self.batch_wait_s >= 0,
                f"waiting {self.batch_wait_s} s for the inputs of a frame: give 0 or more",
            ),
            (
                self.batch == 1 or self.input_codec is None or self.input_codec.pixels is None,
                f"batch of {self.batch} inputs with input codec {self.input_codec}: pixels travel one input a frame",
            ),
            (self.drain_s >= 0, f"waiting {self.drain_s} s for the last answers: give 0 or more"),
        ):
            if not is_good:
                raise errors.SettingsError(problem)

    @property
    def is_lossy(self) -> bool:
        """Whether frames lose detail on their way."""
        return self.bits is not None or (self.input_codec is not None and self.input_codec.is_lossy)

    @property
    def form(self) -> tuple[InputCodec | None, int | None]:
        """How frames travel, as `framing.of` takes it."""
        return self.input_codec, self.bits

    @property
    def wishes(self) -> dict[str, bool]:
        """What frames ask for beside the result, as `framing.Sending.pack` takes it."""
        return {"wants_ack": self.until is Until.ACK, "wants_mask": self.wants_mask}

    @property
    def _lossy(self) -> str:
        return f"features in {self.bits} bits" if self.bits is not None else f"input codec {self.input_codec}"

    @property
    def is_latest(self) -> bool:
        return self.delivery is Delivery.LATEST

    @property
    def frame_qos(self) -> int:
        if self.qos is not None:
            return self.qos
        return 0 if self.is_latest else 1

    @property
    def answers(self) -> topics.Kind:
        """The kind of topic on which answers come."""
        return topics.Kind.ACKS if self.until is Until.ACK else topics.Kind.RESULTS

    def check_may_become(self, other: "Settings") -> None:
        """SettingsError names the changes that take a restart."""
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
