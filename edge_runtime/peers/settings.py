"""What a worker is told at its start."""

import secrets

from broker.messages import topics
from tflsplit import errors
from tflsplit.placement.machines import Machine
from tflsplit.values.classes import dataclass, field


@dataclass(frozen=True, slots=True)
class Settings:
    """`boot` is random for each start; that of the source's machine is the boot of its frames, too.

    At the source: frames `window` are on their way at most (by default two for each machine that takes part); `count`
    and `rate_fps` bound what is taken; with `is_latest` only the newest input counts. It waits `wait_s` for machines
    that have not come; one that is silent for `lost_after_s` is lost; when no frame was answered for `resend_after_s`
    all are computed again. Machines whose kernels would not give the same integers are refused unless `allows_inexact`.
    Where machines are lost, or not as quick as stated, it `replans`. With `wants_raw` results carry the model's outputs
    as they are, with `wants_mask` the mask of a model that segments.

    A worker that `ends_with_source` runs once. With a `pace` each piece takes at least as long as that machine would.
    """

    deployment: str
    name: str
    boot: int = field(default_factory=lambda: secrets.randbits(64))
    window: int | None = None
    count: int | None = None
    rate_fps: float | None = None
    is_latest: bool = False
    wait_s: float = 30.0
    lost_after_s: float = 5.0
    resend_after_s: float = 10.0
    drain_s: float = 30.0
    allows_inexact: bool = False
    replans: bool = True
    wants_raw: bool = False
    wants_mask: bool = False
    ends_with_source: bool = False
    threads: int = 1
    pace: Machine | None = None

    def __post_init__(self) -> None:
        topics.check_name("deployment", self.deployment)
        topics.check_name("machine", self.name)
        for name in ("window", "count", "rate_fps", "lost_after_s", "resend_after_s", "threads"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise errors.SettingsError(f"{name} is {value}, expected above zero")
