"""A better placement for the machines that are there, and for how quick they were found to be.

It takes seconds, so it is searched for beside the frames, and tried against the whole model before it is used.
"""

import logging
import threading
from collections.abc import Mapping, Sequence

from edge_runtime.peers.shares import Shares
from tflsplit import errors
from tflsplit.graph import indices
from tflsplit.graph.interpreter import Interpreter
from tflsplit.package import verify
from tflsplit.placement import cost, exactness, placement, recovery, running
from tflsplit.placement.machines import Cluster, Machine
from tflsplit.placement.placement import Placement
from tflsplit.placement.searching import search
from tflsplit.placement.searching.search import Objective
from tflsplit.values.classes import dataclass, replace

log = logging.getLogger(__name__)

# A change costs frames their time, so it has to gain that much.
_WORTH_IT = 1.1


@dataclass(frozen=True, slots=True)
class Better:
    """For these machines; `gain` is how many times as quick it is as what was in force."""

    machines: frozenset[int]
    placed: Placement
    gain: float


class Replanner:
    """One search at a time, on a thread of its own. Without stated speeds there is nothing to search with."""

    def __init__(self, shares: Shares, *, threads: int) -> None:
        self._shares = shares
        self._threads = threads
        self._stated = shares.shared.plan.stated
        self._thread: threading.Thread | None = None
        self._found: Better | None = None

    @property
    def is_able(self) -> bool:
        return self._stated is not None

    def ask(self, machines: frozenset[int], factors: Mapping[int, float], present: Placement) -> bool:
        """Begins to search, for machines so many times as quick as stated; False where a search is still running."""
        if self._stated is None or (self._thread is not None and self._thread.is_alive()):
            return False
        cluster = _scaled(self._stated, factors)
        self._found = None
        self._thread = threading.Thread(
            target=self._search, args=(cluster, machines, present), name="peer-replan", daemon=True
        )
        self._thread.start()
        return True

    def take(self) -> Better | None:
        """What was found since."""
        found, self._found = self._found, None
        return found

    def _search(self, cluster: Cluster, machines: frozenset[int], present: Placement) -> None:
        try:
            better = self._better(cluster, machines, present)
            if better is not None and self._is_exact(better.placed):
                self._found = better
        except errors.TflsplitError as problem:
            log.warning("no other placement machines=%d reason=%s", len(machines), problem)

    def _better(self, cluster: Cluster, machines: frozenset[int], present: Placement) -> Better | None:
        network, members = self._shares.network, sorted(machines)
        sink = members.index(present.sink) if present.sink in machines else members.index(cluster.source)
        there = replace(
            cluster,
            machines=tuple(cluster.machines[each] for each in members),
            source=members.index(cluster.source),
            sink=sink,
        )
        objective = _objective(self._shares.shared.plan.objective)
        searched = search.search(network, there, objective, with_sums=exactness.can_add(there)).placement
        found = recovery.spread(searched, members, present.machines)
        took = [_took_s(cost.of(placement.schedule(network, each), cluster), objective) for each in (present, found)]
        gain = took[0] / took[1] if took[1] else 1.0
        return Better(machines, found, gain) if gain >= _WORTH_IT else None

    def _is_exact(self, placed: Placement) -> bool:
        """Whether it gives here what the whole model gives, on random inputs."""
        network, package = self._shares.network, self._shares.shared.package
        sizes = indices.table_sizes(package.graph)
        (sample,) = verify.random_samples(package.manifest.inputs, 1, table_sizes=sizes)
        with Interpreter(package.model_bytes(), threads=self._threads) as whole:
            wanted = whole.run(*sample)
        found = running.run(network, placed, placement.schedule(network, placed), sample, threads=self._threads)
        if all(one.tobytes() == other.tobytes() for one, other in zip(wanted, found, strict=True)):
            return True
        log.warning("another placement is not used reason=%s", "it does not give what the whole model gives")
        return False


def _objective(name: str) -> Objective:
    return Objective.THROUGHPUT if name == Objective.THROUGHPUT.value else Objective.LATENCY


def _took_s(costs: cost.Costs, objective: Objective) -> float:
    return costs.busy_s if objective is Objective.THROUGHPUT else costs.latency_s


def _scaled(cluster: Cluster, factors: Mapping[int, float]) -> Cluster:
    """Machines so many times as quick as stated."""

    def scaled(number: int) -> Machine:
        machine, factor = cluster.machines[number], factors.get(number, 1.0)
        return replace(
            machine,
            macs_per_s=machine.macs_per_s * factor,
            piece_s=machine.overhead_s / factor,
            operator_s=tuple(seconds / factor for seconds in machine.operator_s),
        )

    return replace(cluster, machines=tuple(scaled(each) for each in range(len(cluster.machines))))


def slow_or_quick(factors: Mapping[int, float], assumed: Mapping[int, float], ratio: float) -> Sequence[int]:
    """The machines that are `ratio` times as slow or as quick as the placement in force assumes, beside the others:
    stated speeds may all be off by the same factor."""
    beside = {each: factor / assumed.get(each, 1.0) for each, factor in factors.items()}
    if len(beside) < 2:
        return ()
    usual = sorted(beside.values())[len(beside) // 2]
    return [each for each, found in beside.items() if not 1 / ratio < found / usual < ratio]
