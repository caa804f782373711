"""What a schedule costs: bytes on each machine's link, multiply-accumulates, time, memory and energy.

What is counted (bytes, multiply-accumulates, memory) is exact; times follow from the speeds and links that were stated.
"""

from collections.abc import Sequence

import numpy as np

from tflsplit.graph.tensors import Array
from tflsplit.placement.machines import Cluster, Machine
from tflsplit.placement.placement import Move, Schedule, Step
from tflsplit.placement.rewriting.pieces import Piece
from tflsplit.values.classes import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Costs:
    """One inference. Lists are by machine. `latency_s` counts stages one after the other, each as long as its slowest
    machine after an exchange; `busy_s` is the most that a machine or its link works on a frame, which is what a frame
    takes when frames follow one another."""

    latency_s: float
    busy_s: float
    bytes_exchanged: int
    macs: tuple[int, ...]
    parameter_bytes: tuple[int, ...]
    memory_bytes: tuple[int, ...]
    energy_j: float


@dataclass(frozen=True, slots=True)
class Balance:
    """Seconds that add up to a frame's latency: `work_s` is all work if every machine computed all the time,
    `repeated_s` what is computed more than once, shared out in the same way, and `overhead_s` what pieces cost besides.
    What is left is `waiting_s`, for the slowest machine of each stage: shares are whole rows, columns or channels, and
    machines without a share compute nothing."""

    work_s: float
    exchange_s: float
    repeated_s: float
    overhead_s: float
    waiting_s: float

    @property
    def over_evenly(self) -> float:
        """How many times as long as all work over all speed, and the exchange."""
        evenly_s = self.work_s + self.exchange_s
        return (evenly_s + self.repeated_s + self.overhead_s + self.waiting_s) / evenly_s if evenly_s else 1.0

    def as_json(self) -> dict[str, float]:
        return {name.removesuffix("_s") + "_ms": seconds * 1e3 for name, seconds in asdict(self).items()}


def of(schedule: Schedule, cluster: Cluster) -> Costs:
    machines, count = cluster.machines, len(cluster.machines)
    latency_s, compute_s = 0.0, [0.0] * count
    macs, parameters, features = [0] * count, [0] * count, [0] * count
    for step in schedule.steps:
        took = [machine_s(step, each, machines[each]) for each in range(count)]
        latency_s += sum(exchange_s(moves, cluster) for moves in (step.moves, step.sums)) + max(took)
        for each in range(count):
            compute_s[each] += took[each]
            for piece in step.run_by(each):
                macs[each] += piece.macs
                parameters[each] += piece.parameter_bytes
                features[each] = max(features[each], piece.feature_bytes)
    latency_s += exchange_s(schedule.last, cluster)
    return Costs(
        latency_s=latency_s,
        busy_s=max(*compute_s, float(cluster.busy_s(*traffic(schedule.moves, count)))),
        bytes_exchanged=schedule.bytes_exchanged,
        macs=tuple(macs),
        parameter_bytes=tuple(parameters),
        memory_bytes=tuple(map(sum, zip(parameters, features, strict=True))),
        energy_j=sum(took * machine.power_w for took, machine in zip(compute_s, machines, strict=True)),
    )


def balance(schedule: Schedule, alone: Schedule, cluster: Cluster) -> Balance:
    """What a frame's time is made of; `alone` is the schedule of the whole on one machine."""
    machines, numbers = cluster.machines, range(len(cluster.machines))
    wholes = [piece for step in alone.steps for each in numbers for piece in step.run_by(each)]
    whole_s = [sum(run_s(piece, machine) for piece in wholes) for machine in machines]
    work_s = 1 / sum(1 / each for each in whole_s) if all(whole_s) else 0.0
    exchanging_s, overhead_s, computing_s, done = exchange_s(schedule.last, cluster), 0.0, 0.0, 0.0
    for step in schedule.steps:
        exchanging_s += sum(exchange_s(moves, cluster) for moves in (step.moves, step.sums))
        took_s = [machine_s(step, each, machines[each]) for each in numbers]
        slowest = max(numbers, key=took_s.__getitem__)
        besides_s = len(step.run_by(slowest)) * machines[slowest].overhead_s
        overhead_s += besides_s
        computing_s += took_s[slowest] - besides_s
        done += sum(
            run_s(piece, machines[each]) / whole_s[each]
            for each in numbers
            for piece in step.run_by(each)
            if whole_s[each]
        )
    repeated_s, waiting_s = max(0.0, done - 1) * work_s, max(0.0, computing_s - done * work_s)  # but for rounding
    return Balance(work_s, exchanging_s, repeated_s, overhead_s, waiting_s)


def exchange_s(moves: Sequence[Move], cluster: Cluster) -> float:
    """Seconds for what is moved at one time."""
    return float(cluster.exchange_s(*traffic(moves, len(cluster.machines))))


def traffic(moves: Sequence[Move], count: int) -> tuple[Array, Array]:
    """Bytes that each machine sends, and receives."""
    sent, received = np.zeros(count), np.zeros(count)
    for move in moves:
        sent[move.source] += move.bytes
        received[move.target] += move.bytes
    return sent, received


def machine_s(step: Step, number: int, machine: Machine) -> float:
    return sum((run_s(piece, machine) + machine.overhead_s for piece in step.run_by(number)), 0.0)


def run_s(piece: Piece, machine: Machine) -> float:
    """What the machine computes on a piece, without what each piece costs besides."""
    if machine.operator_s:
        return sum(machine.operator_s[part.operator.index] * part.work * part.slower for part in piece.parts)
    return sum(part.macs * part.slower for part in piece.parts) / machine.macs_per_s
