"""What a cloud has done: counters that any thread may read, and as JSON for whoever started it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from broker.cloud.answerer import Answer, Refused
from broker.cloud.engine import Counters
from broker.transport import protocol
from tflsplit.timings.latency import Latencies, percentiles


@dataclass(slots=True)
class Summary:
    """Counters of one deployment. Frames `refused`, by reason, were answered with an error; results `unpublished` had
    no way out, and their frames will be sent again, as will those left `unfinished` when the time to stop was over.
    `dead_letters_left_out` were more than may be published. `link` is of the connection at the end."""

    frames: int = 0
    results: int = 0
    duplicates: int = 0
    unpublished: int = 0
    unfinished: int = 0
    refused: Counter[Refused] = field(default_factory=Counter)
    dead_letters: int = 0
    dead_letters_left_out: int = 0
    link: protocol.Counters = field(default_factory=protocol.Counters)
    tail_s: Latencies = field(default_factory=Latencies)
    decode_s: Latencies = field(default_factory=Latencies)
    queue_s: Latencies = field(default_factory=Latencies)

    def count(self, answer: Answer) -> None:
        if answer.refused is not None:
            self.refused[answer.refused] += 1
            return
        self.results += 1
        self.tail_s.append(answer.tail_s)
        self.decode_s.append(answer.decode_s)
        self.queue_s.append(answer.queue_s)

    def __str__(self) -> str:
        refused = sum(self.refused.values())
        return f"{self.frames} frames, {self.results} results, {self.duplicates} duplicates, {refused} refused"

    def as_json(self) -> dict[str, object]:
        return {
            "frames": self.frames,
            "results": self.results,
            "duplicates": self.duplicates,
            "unpublished": self.unpublished,
            "unfinished": self.unfinished,
            "refused": {refused.value: count for refused, count in sorted(self.refused.items())},
            "dead_letters": self.dead_letters,
            "dead_letters_left_out": self.dead_letters_left_out,
            "link": self.link.as_json(),
            "tail_ms": percentiles(self.tail_s),
            "decode_ms": percentiles(self.decode_s),
            "queue_ms": percentiles(self.queue_s),
        }


def total(summaries: Sequence[Summary]) -> Summary:
    made = Summary()
    for each in summaries:
        for name in ("frames", "results", "duplicates", "unpublished", "unfinished"):
            setattr(made, name, getattr(made, name) + getattr(each, name))
        made.dead_letters += each.dead_letters
        made.dead_letters_left_out += each.dead_letters_left_out
        made.refused.update(each.refused)
        made.link.reconnects += each.link.reconnects
        for reason, count in each.link.dropped.items():
            made.link.dropped[reason] += count
        made.tail_s.extend(each.tail_s)
        made.decode_s.extend(each.decode_s)
        made.queue_s.extend(each.queue_s)
    return made


def as_json(summaries: dict[str, Summary], counters: Counters) -> dict[str, object]:
    """Of all deployments together, with each one's own where there are several."""
    whole = total(tuple(summaries.values())).as_json()
    whole |= {"requeued": counters.requeued, "workers_replaced": counters.workers_replaced}
    if len(summaries) > 1:
        whole["deployments"] = {name: each.as_json() for name, each in summaries.items()}
    return whole
