"""The conditions that candidates are costed for: link, input rate, prices, and the power that the edge draws."""

from tflsplit import arguments, errors
from tflsplit.timings.links import Link
from tflsplit.values.classes import dataclass, field

SECONDS_A_DAY = 86_400
# Bytes and prices a day need a rate; without one, one frame a second is counted.
UNASKED_RATE_FPS = 1.0


@dataclass(frozen=True, slots=True)
class Workload:
    """`rate_fps` is each device's, in inputs a second; without it there is no queueing and bytes are those of one frame
    a second.

    `devices` equal ones share one cloud of `workers`. `window` frames of a device may be unanswered. With
    `reload_every`, another model uses the accelerator too, and the head is loaded again every so many frames.
    """

    rate_fps: float | None = None
    devices: int = 1
    workers: int = 1
    window: int = 8
    reload_every: int | None = None

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if self.rate_fps is not None and not self.rate_fps > 0:
            raise errors.SettingsError(f"rate of {self.rate_fps} frames a second: give more than 0")
        for name in ("devices", "workers", "window"):
            if getattr(self, name) < 1:
                raise errors.SettingsError(f"{name}: {getattr(self, name)}, give at least 1")
        if self.reload_every is not None and self.reload_every < 1:
            raise errors.SettingsError(f"reload every {self.reload_every} frames: give at least 1")


@dataclass(frozen=True, slots=True)
class Prices:
    """All in one currency. An hour of the cloud is charged for the share of it in which tails run."""

    per_gb: float | None = None
    per_cloud_hour: float | None = None

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        for name in self.__slots__:
            price = getattr(self, name)
            if price is not None and price < 0:
                raise errors.SettingsError(f"price {name} of {price}: give 0 or more")

    @property
    def is_known(self) -> bool:
        return self.per_gb is not None or self.per_cloud_hour is not None


@dataclass(frozen=True, slots=True)
class Power:
    """The edge device at rest and at work."""

    idle_w: float
    active_w: float

    def __post_init__(self) -> None:
        arguments.check_fields(self)
        if not 0 <= self.idle_w <= self.active_w:
            raise errors.SettingsError(f"power of {self.idle_w} W idle and {self.active_w} W active cannot be")


@dataclass(frozen=True, slots=True)
class Scenario:
    link: Link
    workload: Workload = field(default_factory=Workload)
    prices: Prices = field(default_factory=Prices)
    power: Power | None = None

    @property
    def counted_fps(self) -> float:
        """Frames a second that bytes, price and loads are counted for."""
        return self.workload.rate_fps or UNASKED_RATE_FPS
