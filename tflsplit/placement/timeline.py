"""One frame over the machines as a time line: who exchanges and who computes when, by the model that costs follow.

Stages come one after the other: an exchange as long as its busiest link, then computing as long as the slowest machine.
"""

from collections.abc import Iterator, Sequence

from tflsplit.placement import cost
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Move, Schedule
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """What one machine does from one time to another; `stage` is None for what is brought to the sink at the end."""

    machine: int
    start_s: float
    stop_s: float
    stage: int | None
    is_exchange: bool


def spans(schedule: Schedule, cluster: Cluster) -> tuple[Span, ...]:
    """In the order of time; the last ends when a frame's latency is over."""
    found: list[Span] = []
    now_s = 0.0
    for number, step in enumerate(schedule.steps):
        for moves in (step.moves, step.sums):
            found += _exchanged(moves, cluster, now_s, number)
            now_s += cost.exchange_s(moves, cluster)
        took_s = [cost.machine_s(step, each, machine) for each, machine in enumerate(cluster.machines)]
        found += [Span(each, now_s, now_s + took, number, False) for each, took in enumerate(took_s) if took > 0]
        now_s += max(took_s)
    return (*found, *_exchanged(schedule.last, cluster, now_s, None))


def _exchanged(moves: Sequence[Move], cluster: Cluster, now_s: float, stage: int | None) -> Iterator[Span]:
    """Each machine's link is busy with its own bytes; on one medium all are as long as everybody's."""
    whole_s = cost.exchange_s(moves, cluster)
    sent, received = cost.traffic(moves, len(cluster.machines))
    for each, bps in enumerate(cluster.bandwidths_bps):
        own_s = max(sent[each], received[each]) * 8 / bps + cluster.medium.delay_s
        if sent[each] or received[each]:
            took_s = whole_s if cluster.medium.is_shared else min(own_s, whole_s)
            yield Span(each, now_s, now_s + float(took_s), stage, True)
