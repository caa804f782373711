"""A placement without some of its machines: a neighbour takes over what each of them made. It is quick, not optimal."""

from collections.abc import Collection, Mapping, Sequence

from tflsplit import errors
from tflsplit.placement import placement
from tflsplit.placement.placement import Placement, Stage
from tflsplit.placement.rewriting import boxes
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.values.classes import replace


def without(network: Network, placed: Placement, lost: Collection[int]) -> Placement:
    """For machines by the same numbers, of which those that are lost do nothing. SettingsError where the source is
    lost, for nobody else has the inputs."""
    if placed.source in lost:
        raise errors.SettingsError("the machine with the inputs is lost")
    left = [machine for machine in range(placed.machines) if machine not in lost]
    stages = tuple(_stage(network, stage, lost, left) for stage in placed.stages)
    sink = placed.sink if placed.sink not in lost else _heir(placed.sink, left)
    return replace(placed, stages=stages, sink=sink)


def used(placed: Placement) -> frozenset[int]:
    """The machines that it cannot do without."""
    busy = {
        machine
        for stage in placed.stages
        for machine in range(placed.machines)
        if stage.makes[machine] or (stage.adds and stage.adds[machine] is not None)
    }
    return frozenset(busy | {placed.source, placed.sink})


def spread(placed: Placement, members: Sequence[int], count: int) -> Placement:
    """A placement of so many machines, where what it gives to its n-th one is done by the n-th member."""

    def stage(given: Stage) -> Stage:
        makes: list[Mapping[int, Box]] = [{} for _ in range(count)]
        adds: list[Box | None] = [None] * count
        for place, member in enumerate(members):
            makes[member] = given.makes[place]
            adds[member] = given.adds[place] if given.adds else None
        return replace(given, makes=tuple(makes), adds=tuple(adds) if given.adds else ())

    source, sink = members[placed.source], members[placed.sink]
    return Placement(count, tuple(map(stage, placed.stages)), source, sink)


def _heir(machine: int, left: Sequence[int]) -> int:
    """Of a machine that is lost: the next one, since shares that lie side by side join to one."""
    return min(left, key=lambda other: (abs(other - machine), other))


def _stage(network: Network, stage: Stage, lost: Collection[int], left: Sequence[int]) -> Stage:
    makes: list[Mapping[int, Box]] = [{} if each in lost else made for each, made in enumerate(stage.makes)]
    adds = [None if stage.adds and each in lost else box for each, box in enumerate(stage.adds)]
    for machine in sorted(lost):
        if stage.adds and (stage.adds[machine] is not None or len(stage.makes[machine]) > 0):
            # Parts that are added up must neither overlap nor leave any out.
            return placement.whole_stage(network, stage.start, stage.stop, _busiest(stage, left), len(stage.makes))
        for tensor, box in stage.makes[machine].items():
            heir = min(left, key=lambda other: _grown(makes[other].get(tensor), box, abs(other - machine)))
            held = makes[heir].get(tensor)
            makes[heir] = {**makes[heir], tensor: box if held is None else boxes.hull([held, box])}
    return replace(stage, makes=tuple(makes), adds=tuple(adds))


def _busiest(stage: Stage, left: Sequence[int]) -> int:
    """Of those that are left, who makes the most of the result."""
    return max(left, key=lambda machine: (sum(map(boxes.volume, stage.makes[machine].values())), -machine))


def _grown(held: Box | None, box: Box, distance: int) -> tuple[int, int, int]:
    """How much more is made where that part is joined to what is made already; who makes nothing comes last."""
    if held is None:
        return 1, boxes.volume(box), distance
    return 0, boxes.volume(boxes.hull([held, box])) - boxes.volume(held), distance
