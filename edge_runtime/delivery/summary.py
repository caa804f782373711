"""What an edge counted and measured: frames by what became of them, and latencies in percentiles."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from broker.transport.protocol import Counters as LinkCounters
from edge_runtime.accelerators.service import Counters
from tflsplit.timings.latency import Latencies, percentiles


@dataclass(slots=True)
class Summary:
    """Counters of one run. Latencies (seconds) are those of the last `latency.KEPT` answered frames.

    `frames` were accepted by this run, `replayed` were in the spool when it began. Of both together some had `results`
    (or acknowledgements), some were `refused`, for the reason `refusal` at last, and some `given_up`: these are among
    the `dropped`, with inputs that never became frames. `duplicates` are answers to frames that are not out any more.
    `spooled` is what stayed on disk at the end, None without a spool. `accelerator` is that of the head in use.
    `latency_s` is from capture to the answer's arrival here; `head_s` and `tail_s` are the two halves' own time,
    `wire_s` all that lies between: coding, spool, broker, network, queues, and the way back.
    """

    frames: int = 0
    replayed: int = 0
    results: int = 0
    refused: int = 0
    refusal: str | None = None
    given_up: int = 0
    resent: int = 0
    duplicates: int = 0
    spooled: int | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    accelerator: Counters = field(default_factory=Counters)
    link: LinkCounters = field(default_factory=LinkCounters)
    latency_s: Latencies = field(default_factory=Latencies)
    head_s: Latencies = field(default_factory=Latencies)
    tail_s: Latencies = field(default_factory=Latencies)
    wire_s: Latencies = field(default_factory=Latencies)
    _dropping: threading.Lock = field(default_factory=threading.Lock, repr=False)  # every thread of an edge drops

    @property
    def unanswered(self) -> int:
        return self.frames + self.replayed - self.results - self.refused - self.given_up

    def drop(self, reason: str) -> None:
        """An input or a message that became nothing."""
        with self._dropping:
            self.dropped[reason] += 1

    def give_up(self, reason: str, frames: int = 1) -> None:
        """Frames that had been accepted."""
        with self._dropping:
            self.given_up += frames
            self.dropped[reason] += frames

    def add_latency(self, *, latency_s: float, head_s: float, tail_s: float | None) -> None:
        """`tail_s` None where the answer does not tell it."""
        self.latency_s.append(latency_s)
        self.head_s.append(head_s)
        if tail_s is not None:
            self.tail_s.append(tail_s)
            self.wire_s.append(max(0.0, latency_s - head_s - tail_s))

    def as_json(self) -> dict[str, object]:
        return {
            "frames": self.frames,
            "replayed": self.replayed,
            "results": self.results,
            "refused": self.refused,
            "unanswered": self.unanswered,
            "resent": self.resent,
            "duplicates": self.duplicates,
            "spooled": self.spooled,
            "dropped": dict(self.dropped),
            "accelerator": self.accelerator.as_json(),
            "link": {
                "reconnects": self.link.reconnects,
                "dropped": {reason.value: count for reason, count in self.link.dropped.items() if count},
            },
            "latency_ms": percentiles(self.latency_s),
            "parts_ms": {
                "head": percentiles(self.head_s),
                "wire": percentiles(self.wire_s),
                "tail": percentiles(self.tail_s),
            },
        }
