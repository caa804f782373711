"""The counters of a cloud, which any thread may read, and their JSON form."""

from collections import Counter
from collections.abc import Sequence

from broker.cloud.answerer import Answer, Refused
from broker.cloud.engine import Counters
from broker.messages import chunks
from broker.transport import protocol
from tflsplit import text
from tflsplit.kernels.heads import Standing
from tflsplit.timings.latency import Latencies, percentiles
from tflsplit.values.classes import dataclass, field

_COUNTS = (
    *("frames", "results", "duplicates", "left_to_others", "unpublished", "unfinished"),
    *("dead_letters", "dead_letters_left_out", "answers_forgotten", "rate_limited", "masks_left_out"),
)
_PARTS = ("tail", "decode", "queue")


@dataclass(slots=True, repr=False)
class Summary:
    """Counters of one deployment. `frames` are whole ones; those of them that came again are `duplicates` as well.
    `refused` frames, by reason, were answered with an error, except those of a `bad_topic`, which nobody hears of.
    Frames of `unpublished` answers, and frames left `unfinished` after a stop, will be sent again.
    `dead_letters_left_out` were over the limit of dead letters. Answers that were `answers_forgotten` within seconds,
    for want of memory, are computed again where their frame comes again. Frames that were `rate_limited` are
    among those that were refused as busy. `masks_left_out` are of results that went without: a broker, or a PNG, holds
    no such. Frames `left_to_others` got no answer of ours, since another cloud serves their package. `exactness` is of
    the results, by how their heads stand to this machine. `chunked` is of frames in chunks, `link` is of the connection
    at the end."""

    frames: int = 0
    results: int = 0
    duplicates: int = 0
    left_to_others: int = 0
    unpublished: int = 0
    unfinished: int = 0
    refused: Counter[Refused] = field(default_factory=Counter)
    exactness: Counter[Standing] = field(default_factory=Counter)
    dead_letters: int = 0
    dead_letters_left_out: int = 0
    answers_forgotten: int = 0
    rate_limited: int = 0
    masks_left_out: int = 0
    chunked: chunks.Counters = field(default_factory=chunks.Counters)
    link: protocol.Counters = field(default_factory=protocol.Counters)
    tail_s: Latencies = field(default_factory=Latencies)
    decode_s: Latencies = field(default_factory=Latencies)
    queue_s: Latencies = field(default_factory=Latencies)

    def count(self, answer: Answer, is_exact: bool | None) -> None:
        if answer.refused is not None:
            self.refused[answer.refused] += 1
            return
        self.results += 1
        self.masks_left_out += answer.masks_left_out
        self.exactness[Standing.of(is_exact)] += 1
        self.tail_s.append(answer.tail_s)
        self.decode_s.append(answer.decode_s)
        self.queue_s.append(answer.queue_s)

    def __repr__(self) -> str:
        return f"<{self}>"

    def __str__(self) -> str:
        refused = sum(self.refused.values())
        frames, results = text.counted(self.frames, "frame"), text.counted(self.results, "result")
        stands = self.exactness
        told = ", ".join(f"{stands[each]} {each.value}" for each in Standing if stands[each])
        of = f" ({told})" if told else ""
        return f"{frames}, {results}{of}, {text.counted(self.duplicates, 'duplicate')}, {refused} refused"

    def as_json(self) -> dict[str, object]:
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "refused": {refused.value: count for refused, count in sorted(self.refused.items())},
            "exactness": {each.value: self.exactness[each] for each in Standing},
            "chunked": self.chunked.as_json(),
            "link": self.link.as_json(),
            **{f"{name}_ms": percentiles(getattr(self, f"{name}_s")) for name in _PARTS},
        }


def total(summaries: Sequence[Summary]) -> Summary:
    made = Summary()
    for each in summaries:
        for name in _COUNTS:
            setattr(made, name, getattr(made, name) + getattr(each, name))
        made.refused.update(each.refused)
        made.exactness.update(each.exactness)
        made.chunked.add(each.chunked)
        made.link.reconnects += each.link.reconnects
        for reason, count in each.link.dropped.items():
            made.link.dropped[reason] += count
        for part in _PARTS:
            getattr(made, f"{part}_s").extend(getattr(each, f"{part}_s"))
    return made


def as_json(summaries: dict[str, Summary], counters: Counters) -> dict[str, object]:
    """The totals of all deployments, and each one's own counters if there are several."""
    whole = total(tuple(summaries.values())).as_json()
    whole |= {"requeued": counters.requeued, "workers_replaced": counters.workers_replaced}
    whole["states_forgotten"] = counters.states_forgotten
    if len(summaries) > 1:
        whole["deployments"] = {name: each.as_json() for name, each in summaries.items()}
    return whole
