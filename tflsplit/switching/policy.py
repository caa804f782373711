"""What anything that moves a cut says and is told: the same in an edge, in a replay and in a simulation."""

from typing import Protocol

from tflsplit.switching.choices import Choice
from tflsplit.values.classes import dataclass

# A message smaller than a packet tells the round trip, and nothing of the rate.
LEAST_TELLING_BITS = 1500 * 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What the device learns of a frame when its answer comes, or of a probe, whose `choice` is None.

    `edge_s` is what the device worked on it. `link_s` is the time from sending to answer without the server's own, None
    where nothing was sent, or it tells nothing of the link; `cloud_wait_s` and `cloud_s` are what the server says that
    the frame waited and took there. With `is_given_up` none came, and nobody waits for it any more: the times are at
    least these.
    """

    choice: Choice | None
    sent_s: float
    bits: float
    edge_s: float
    link_s: float | None
    cloud_wait_s: float | None = None
    cloud_s: float | None = None
    is_given_up: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """The oldest message that is on its way. `work_s` is what the server was expected to take for it. `passed_s` is
    when a probe came back that was sent behind it: the link let it through, and what it waits for is the server. None
    where no probe says so."""

    since_s: float
    bits: float
    work_s: float = 0.0
    passed_s: float | None = None


@dataclass(frozen=True, slots=True)
class Probing:
    """Large messages tell the rate, one whenever nothing that tells it was sent for `large_every_s`; small ones tell
    the round trip, one every `small_every_s` when nothing is on its way."""

    large_bytes: float = 4000.0
    large_every_s: float = 0.5
    small_bytes: float = 250.0
    small_every_s: float = 1.0


class Policy(Protocol):
    """Times are monotonic seconds of one clock."""

    probing: Probing | None

    def pick(self, now_s: float) -> Choice: ...

    def learn(self, now_s: float, answer: Answer) -> None: ...

    def pending(self, oldest: Waiting | None) -> None:
        """Before each pick: the oldest message without an answer, if there is one."""

    def hedge_after_s(self, choice: Choice) -> float | None:
        """When the device begins to compute the answer itself, counted from taking the frame; None for never."""
