"""How a rollout goes on: how many devices get the model at first, how many then, and when it halts. Pure."""

import math
from typing import Any

from tflsplit import arguments, errors, quantities
from tflsplit.values.classes import asdict, dataclass


def parse_portion(given: str, what: str = "portion") -> int | float:
    """`20` devices, or `5%` of them all."""
    words = arguments.text(given, what).strip()
    if words.isascii() and words.isdigit() and int(words) > 0:
        return int(words)
    if not words.endswith("%"):
        raise errors.SettingsError(f"{what} {given!r}: write a number of devices, as 20, or a share of them, as 5%")
    share = quantities.parse_share(words, what)
    if not 0 < share <= 1:
        raise errors.SettingsError(f"{what} {given!r}: a share is more than 0% and at most 100%")
    return share


@dataclass(frozen=True, slots=True)
class Terms:
    """`canary` and `wave` are numbers of devices (int), or shares of all (float): the canary is the first phase, every
    later one a wave. A phase in which more than the share `most_failed` fails is the last, until a person resumes.

    A device also fails whose median latency grows by more than the factor `most_latency`, or whose labels come
    otherwise than before: `least_agreement` is the share of answers that the two distributions have in common. For
    these it is observed up to `soak_s` before and after. At most `at_once` models travel at a time, and at most
    `pace_per_s` are offered a second. A device that is online has `wait_s` for its final word.
    """

    canary: int | float = 0.02
    wave: int | float = 0.25
    most_failed: float = 0.05
    most_latency: float | None = None
    least_agreement: float | None = None
    soak_s: float = 300.0
    at_once: int = 100
    pace_per_s: float | None = None
    wait_s: float = 600.0

    def __post_init__(self) -> None:
        for is_good, problem in (
            (0 <= self.most_failed <= 1, f"share of {self.most_failed:g} that may fail: give 0% to 100%"),
            (
                self.most_latency is None or self.most_latency >= 1,
                f"latency of at most {self.most_latency} times that of before: give 1 or more",
            ),
            (
                self.least_agreement is None or 0 < self.least_agreement <= 1,
                f"agreement of {self.least_agreement}: give more than 0% and at most 100%",
            ),
            (self.at_once >= 1, f"{self.at_once} models at a time: give 1 or more"),
            (self.pace_per_s is None or self.pace_per_s > 0, f"{self.pace_per_s} models a second: give more than 0"),
        ):
            if not is_good:
                raise errors.SettingsError(problem)

    @property
    def observes(self) -> bool:
        return self.most_latency is not None or self.least_agreement is not None

    def size(self, phase: int, devices: int) -> int:
        """Of the phases, counted from 1, of a rollout to so many devices."""
        portion = self.canary if phase == 1 else self.wave
        # 5% of 1000 is 50.000000000000004
        return min(devices, portion if isinstance(portion, int) else max(1, math.ceil(portion * devices - 1e-9)))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
