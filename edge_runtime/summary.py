"""What an edge counted and measured: frames by what became of them, and latencies in percentiles."""

from collections import Counter, deque
from dataclasses import dataclass, field

from edge_runtime.accelerators.service import Counters
from tflsplit.latency import percentiles, recent


@dataclass(slots=True)
class Summary:
    """Counters of one run. Latencies (seconds) are those of the last `latency.KEPT` answered frames.

    `refusal` is what the cloud said to the last frame that it `refused`.
    `latency_s` is from capture to the result's arrival here; `head_s` and `tail_s` are the two halves' own time,
    `wire_s` all that lies between: coding, broker, network, queues, and the way back.
    """

    frames: int = 0
    results: int = 0
    refused: int = 0
    refusal: str | None = None
    resent: int = 0
    duplicates: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    accelerator: Counters = field(default_factory=Counters)
    latency_s: deque[float] = field(default_factory=recent)
    head_s: deque[float] = field(default_factory=recent)
    tail_s: deque[float] = field(default_factory=recent)
    wire_s: deque[float] = field(default_factory=recent)

    @property
    def unanswered(self) -> int:
        return self.frames - self.results - self.refused

    def add_latency(self, *, latency_s: float, head_s: float, tail_s: float) -> None:
        self.latency_s.append(latency_s)
        self.head_s.append(head_s)
        self.tail_s.append(tail_s)
        self.wire_s.append(max(0.0, latency_s - head_s - tail_s))

    def as_json(self) -> dict[str, object]:
        return {
            "frames": self.frames,
            "results": self.results,
            "refused": self.refused,
            "unanswered": self.unanswered,
            "resent": self.resent,
            "duplicates": self.duplicates,
            "dropped": dict(self.dropped),
            "accelerator": self.accelerator.as_json(),
            "latency_ms": percentiles(self.latency_s),
            "parts_ms": {
                "head": percentiles(self.head_s),
                "wire": percentiles(self.wire_s),
                "tail": percentiles(self.tail_s),
            },
        }
