"""What may watch an edge at work, and what it is told."""

from dataclasses import dataclass
from typing import Protocol

from broker.messages import acks, results

Answer = results.Result | results.Refusal | acks.Acknowledgement


@dataclass(frozen=True, slots=True)
class Settled:
    """A frame of ours was answered.

    `package` is the first half of its digest in hexadecimal, `cut` the cut's id. `captured_ns`, `published_ns` (the
    last sending) and `arrived_ns` are ns since the epoch by this machine's clock. `latency_s` is from capture to the
    answer's arrival. `sendings` counts those of this run: 1 is a frame that was never sent again, 0 one whose answer
    came to an earlier run's sending; its `published_ns` is 0 then.
    """

    boot: int
    sequence: int
    package: str
    cut: str
    answer: Answer
    captured_ns: int
    head_s: float
    published_ns: int
    arrived_ns: int
    latency_s: float
    sendings: int


class Observer(Protocol):
    """Called on the edge's threads: what takes long here holds up frames, and what raises ends the edge."""

    def alive(self) -> None:
        """On the compute thread: after each frame, and at each look while it rightly waits for room, rate or a live
        source; never while a head runs."""

    def settled(self, settled: Settled) -> None:
        """On the results thread: an answer came for a frame of ours, the first one only."""


def refusal_of(answer: Answer) -> str | None:
    """Why the cloud refused the frame; None if it did not."""
    return None if isinstance(answer, results.Result) else answer.error
