"""A network shared over machines: the placement that was found, what it costs, and the simple schemes beside it."""

from collections.abc import Mapping

from tflsplit import errors, text
from tflsplit.placement import cost, placement
from tflsplit.placement.cost import Balance, Costs
from tflsplit.placement.exactness import Proof
from tflsplit.placement.machines import Cluster
from tflsplit.placement.placement import Placement, Schedule
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching import schemes, search
from tflsplit.placement.searching.schemes import ONE_MACHINE
from tflsplit.placement.searching.search import Found, Objective, Paths
from tflsplit.planning.decision import WORTH_A_SPLIT
from tflsplit.values.classes import dataclass

_QUICKER = (Objective.LATENCY, Objective.THROUGHPUT)


@dataclass(frozen=True, slots=True)
class Distribution:
    """`schemes` are the costs of the simple ways. `unfused_bytes` would be exchanged if nothing were computed twice.
    `unshared` are the operators that run on one machine, since nobody knows how to share them. Where one machine is the
    best, sharing takes `margin` times as long, or as long between frames. `proof` says whether it gives what the whole
    gives, once that was tried. `balance` is what a frame's time is made of."""

    cluster: Cluster
    objective: Objective
    placement: Placement
    schedule: Schedule
    costs: Costs
    unfused_bytes: int
    schemes: Mapping[str, Costs]
    macs: int
    unshared: tuple[str, ...]
    margin: float | None = None
    proof: Proof | None = None
    balance: Balance | None = None

    @property
    def used(self) -> tuple[int, ...]:
        """The machines that compute something."""
        stages = self.placement.stages
        return tuple(each for each in range(self.placement.machines) if any(stage.makes[each] for stage in stages))

    @property
    def over_one(self) -> float:
        """How many times as quick as one machine: in latency, or in frames a second where these are the objective."""
        return _gain(self.objective, self.schemes[ONE_MACHINE], self.costs)

    @property
    def one_is_faster(self) -> bool:
        return len(self.used) == 1 or self.over_one <= 1.0

    @property
    def assumed(self) -> tuple[str, ...]:
        """The machines of which nobody said what a piece costs besides."""
        return tuple(machine.name for machine in self.cluster.machines if machine.piece_s is None)

    @property
    def halo_overhead(self) -> float:
        """The share of multiply-accumulates that is computed more than once."""
        return sum(self.costs.macs) / self.macs - 1 if self.macs else 0.0

    @property
    def reason(self) -> str:
        if len(self.used) == 1:
            name = self.cluster.machines[self.used[0]].name
            best = f"one machine, {name}, is the best for {self.objective.value}"
            return best if self.margin is None else f"{best}: sharing would take {self.margin:.2f} times as long"
        what = "as many frames a second as" if self.objective is Objective.THROUGHPUT else "as fast as"
        return f"{text.counted(len(self.used), 'machine')}, {self.over_one:.2f} times {what} the fastest one alone"

    def as_json(self) -> dict[str, object]:
        names = [machine.name for machine in self.cluster.machines]
        return {
            "objective": self.objective.value,
            "reason": self.reason,
            "machines": names,
            "used": [names[each] for each in self.used],
            "stages": [self._stage(number) for number in range(len(self.schedule.steps))],
            **_figures(self.costs),
            "bytes_unfused": self.unfused_bytes,
            "memory_per_machine": dict(zip(names, self.costs.memory_bytes, strict=True)),
            "parameter_bytes_per_machine": dict(zip(names, self.costs.parameter_bytes, strict=True)),
            "macs_per_machine": dict(zip(names, self.costs.macs, strict=True)),
            "halo_overhead": self.halo_overhead,
            "latency_parts": None if self.balance is None else self.balance.as_json(),
            "overhead_ms_per_machine": dict(
                zip(names, (each.overhead_s * 1e3 for each in self.cluster.machines), strict=True)
            ),
            "overhead_assumed": list(self.assumed),
            "unshared": list(self.unshared),
            "schemes": {
                name: {**_figures(costs), "fits": fits(costs, self.cluster)} for name, costs in self.schemes.items()
            },
            "over_one_machine": self.over_one,
            "one_machine_is_faster": self.one_is_faster,
            "margin": self.margin,
            **({} if self.proof is None else {"exact": self.proof.is_exact, "proof": self.proof.as_json()}),
        }

    def _stage(self, number: int) -> dict[str, object]:
        step = self.schedule.steps[number]
        names = [machine.name for machine in self.cluster.machines]
        return {
            "operators": [step.stage.start, step.stage.stop - 1],
            "machines": [name for name, made in zip(names, step.stage.makes, strict=True) if made],
            "bytes_exchanged": sum(move.bytes for move in (*step.moves, *step.sums)),
            "macs": [piece.macs if piece else 0 for piece in step.pieces],
            "adds": bool(step.stage.adds),
        }


def distribute(
    network: Network, cluster: Cluster, objective: Objective = Objective.LATENCY, *, with_sums: bool = True
) -> Distribution:
    """The best placement found. SettingsError where no machine's memory allows any."""
    found, ways = search.search(network, cluster, objective, with_sums=with_sums), schemes.of(network, cluster)
    simple = {name: cost.of(placement.schedule(network, placed), cluster) for name, placed in ways.items()}
    scheduled = placement.schedule(network, found.placement)
    costs, alone, margin = cost.of(scheduled, cluster), simple[ONE_MACHINE], None
    if objective in _QUICKER and _gain(objective, alone, costs) < 1 + WORTH_A_SPLIT and fits(alone, cluster):
        found = Found(ways[ONE_MACHINE], ways[ONE_MACHINE])
        scheduled, costs = placement.schedule(network, found.placement), alone
        margin = _margin(network, cluster, objective, alone, with_sums=with_sums)
    return Distribution(
        cluster=cluster,
        objective=objective,
        placement=found.placement,
        schedule=scheduled,
        costs=costs,
        unfused_bytes=placement.schedule(network, found.unfused).bytes_exchanged,
        schemes=simple,
        macs=sum(alone.macs),
        margin=margin,
        balance=cost.balance(scheduled, placement.schedule(network, ways[ONE_MACHINE]), cluster),
        unshared=tuple(operator.name for operator in network.graph.operators if network.rules[operator.index] is None),
    )


def _margin(network: Network, cluster: Cluster, objective: Objective, alone: Costs, *, with_sums: bool) -> float | None:
    """None where there is nobody to share with, or nobody who has the memory for it."""
    if len(cluster.machines) == 1:
        return None
    try:
        shared = search.search(network, cluster, objective, with_sums=with_sums, paths=Paths.SHARED).placement
    except errors.SettingsError:
        return None
    return 1 / _gain(objective, alone, cost.of(placement.schedule(network, shared), cluster))


def _gain(objective: Objective, alone: Costs, shared: Costs) -> float:
    if objective is Objective.THROUGHPUT:
        return alone.busy_s / shared.busy_s
    return alone.latency_s / shared.latency_s


def fits(costs: Costs, cluster: Cluster) -> bool:
    """Whether each machine holds its share."""
    pairs = zip(costs.memory_bytes, cluster.machines, strict=True)
    return all(held <= machine.memory_bytes for held, machine in pairs)


def _figures(costs: Costs) -> dict[str, object]:
    return {
        "latency_ms": costs.latency_s * 1e3,
        "frames_per_s": 1 / costs.busy_s if costs.busy_s else None,
        "bytes_exchanged": costs.bytes_exchanged,
        "largest_memory_bytes": max(costs.memory_bytes),
        "energy_j": costs.energy_j,
    }
