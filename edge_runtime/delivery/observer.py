"""The protocol for observers of an edge, and what they are told of each frame."""

from enum import Enum
from typing import NamedTuple, Protocol

from broker.messages import acks, results
from tflsplit.values.classes import dataclass

Answer = results.Result | results.Refusal | acks.Acknowledgement


@dataclass(slots=True)
class Settled:
    """An answered frame of this edge.

    `package` is the first half of its digest in hexadecimal, `cut` the cut's id. `captured_ns`, `published_ns` (the
    last sending) and `arrived_ns` are ns since the epoch by this machine's clock, which may be set at any time.
    `latency_s` is from capture to the answer's arrival, None for frames of an earlier run; `away_s` is from the last
    sending to it. `sendings` counts how often this run sent it: 0 if only an earlier run did, with `published_ns` 0.
    `own_s` is from capture to the device's own answer, which came before this one and is the one that counts; None if
    this one is the first.
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
    latency_s: float | None
    sendings: int
    away_s: float
    own_s: float | None = None


class Why(str, Enum):
    """Why the device answered a frame itself: its cut is `output`; the cloud's answer was overdue, or a refusal; the
    gate called the answer sure, or might send no more; or nobody was there to send to."""

    OUTPUT = "output"
    OVERDUE = "overdue"
    SURE = "sure"
    LIMITED = "limited"
    AWAY = "away"


class OwnAnswer(NamedTuple):
    """An answer of the device itself, which came before any of a cloud.

    `result` is as a cloud would have made it, at the cut `output`; `cut` is the one of the frame. `is_sent` says
    whether the frame goes to a cloud too, for readers of results, and its answer will be told as settled.
    """

    result: results.Result
    why: Why
    cut: str
    captured_ns: int
    head_s: float
    latency_s: float
    is_sent: bool


class Observer(Protocol):
    """Called on the edge's threads: slow observers delay frames, and an exception ends the edge."""

    def alive(self) -> None:
        """On the compute thread: after each frame, and regularly while it waits for room, the rate or a live source;
        never while a head runs."""

    def settled(self, settled: Settled) -> None:
        """On the results thread, or between two frames on the compute thread: the first answer of a cloud to a frame of
        this edge came."""

    def answered(self, own: OwnAnswer) -> None:
        """On the compute thread, or the one that hedges: the device has an answer itself, before any of a cloud."""


def refusal_of(answer: Answer) -> str | None:
    """Why the cloud refused the frame; None if it did not refuse it."""
    return None if isinstance(answer, results.Result) else answer.error
