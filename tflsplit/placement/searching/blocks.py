"""A run of operators in one layout: as one stage that recomputes overlaps, or stage by stage with exchanges between."""

import enum
import itertools
from collections.abc import Sequence

from tflsplit.graph.flatgraph import Operator
from tflsplit.placement import placement
from tflsplit.placement.machines import Machine
from tflsplit.placement.placement import Stage
from tflsplit.placement.rewriting import boxes, partial_sums, rules
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching.layouts import Layout, shares

# Operators that multiply and add.
_HEAVY = {*rules.FILTERED, "TRANSPOSE_CONV"}


class Manner(enum.Enum):
    """How a run is staged; with `SUMS` it begins by adding up what each machine makes of its input channels."""

    FUSED = "fused"
    EACH = "each"
    SUMS = "sums"


def manners(network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine]) -> tuple[Manner, ...]:
    """Those that make a difference for a run."""
    found = [Manner.FUSED]
    if layout.is_one:
        return tuple(found)
    fused, each = (_edges(network, start, stop, layout, machines, manner=one) for one in (Manner.FUSED, Manner.EACH))
    if fused != each:
        found.append(Manner.EACH)
    if _adder(network, start, stop, layout) is not None:
        found.append(Manner.SUMS)
    return tuple(found)


def is_heavy(network: Network, operator: Operator) -> bool:
    """Whether it is worth an exchange of its own; the others go with the one before them."""
    return operator.name in _HEAVY or not _is_shareable(network, operator)


def stages(
    network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine], *, manner: Manner
) -> tuple[Stage, ...]:
    """Operators `start:stop`, with what is made at the end of each stage laid out in this way. What cannot be shared
    runs on the layout's first machine, and sums over rows are added up where rows are what is shared."""
    if manner is Manner.SUMS and (adder := _adder(network, start, stop, layout)) is not None:
        after = adder.index + 1
        rest = stages(network, after, stop, layout, machines, manner=Manner.FUSED) if after < stop else ()
        return (*_summed(network, start, adder, layout, machines), *rest)
    edges = _edges(network, start, stop, layout, machines, manner=manner)
    found = [_stage(network, *pair, layout, machines) for pair in itertools.pairwise(edges)]
    return tuple(stage for stage in found if stage is not None)


def _edges(
    network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine], *, manner: Manner
) -> list[int]:
    """Where the stages of a run begin, and its end. What has all that it needs is no stage of its own."""
    edges, made = [start], set[int]()
    for operator in network.graph.operators[start:stop]:
        apart = _is_apart(network, operator, layout)
        each = manner is Manner.EACH and is_heavy(network, operator)
        if operator.index > edges[-1] and (apart or (each and _lacks(network, operator, made, layout, machines))):
            edges.append(operator.index)
            made.clear()
        made.update(operator.outputs)
        if apart and operator.index + 1 < stop:
            edges.append(operator.index + 1)
            made.clear()
    return [*edges, stop]


def _lacks(network: Network, operator: Operator, made: set[int], layout: Layout, machines: Sequence[Machine]) -> bool:
    """Whether a machine needs more for its part than it has made of these tensors."""
    rule, (target,) = network.rules[operator.index], operator.outputs
    held = {tensor: layout.parts(network.shapes[tensor], machines) for tensor in made.intersection(operator.inputs)}
    for machine, box in enumerate(layout.parts(network.shapes[target], machines)):
        if box is None or rule is None:
            continue
        for tensor, needed in rule.needs(rule.widened(box)).items():
            part = held[tensor][machine] if tensor in held else needed
            if part is None or not boxes.holds(part, needed):
                return True
    return False


def _stage(network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine]) -> Stage | None:
    made = network.made_within(start, stop)
    operator = network.graph.operators[start]
    if not made:
        return None
    if layout.is_one or (stop == start + 1 and not _is_shareable(network, operator)):
        return placement.whole_stage(network, start, stop, layout.machines[0], len(machines))
    if stop == start + 1 and _is_added(network, operator, layout):
        source = layout.parts(network.shapes[operator.inputs[0]], machines)
        whole = {made[0]: network.wholes[made[0]]}
        taking = set(layout.machines)
        return Stage(start, stop, tuple(whole if each in taking else {} for each in range(len(machines))), source)
    parts = {tensor: layout.parts(network.shapes[tensor], machines) for tensor in made}
    return Stage(start, stop, tuple(_of(parts, each) for each in range(len(machines))))


def _of(parts: dict[int, tuple[Box | None, ...]], machine: int) -> dict[int, Box]:
    return {tensor: box for tensor, each in parts.items() if (box := each[machine]) is not None}


def _is_apart(network: Network, operator: Operator, layout: Layout) -> bool:
    if layout.is_one:
        return False
    return not _is_shareable(network, operator) or _is_added(network, operator, layout)


def _is_shareable(network: Network, operator: Operator) -> bool:
    return network.rules[operator.index] is not None


def _is_added(network: Network, operator: Operator, layout: Layout) -> bool:
    is_whole = layout.by_columns or all(len(group) == 1 for group in layout.groups)
    return is_whole and partial_sums.over_rows(network, operator)


def _adder(network: Network, start: int, stop: int, layout: Layout) -> Operator | None:
    """The operator whose input channels may be shared: the run's first, or a dense layer after a map is flattened."""
    if layout.by_columns:
        return None
    operators = network.graph.operators
    place = start + 1 if _flattens(network, operators[start]) and start + 1 < stop else start
    operator = operators[place]
    if operator.name not in rules.FILTERED or not partial_sums.can_add(network, operator):
        return None
    if operator.name == "CONV_2D":
        return operator if all(len(group) > 1 for group in layout.groups) else None
    return operator if place == start or operator.inputs[0] in operators[start].outputs else None


def _flattens(network: Network, operator: Operator) -> bool:
    source, target = network.shapes[operator.inputs[0]], network.shapes[operator.outputs[0]]
    return operator.name == "RESHAPE" and _is_shareable(network, operator) and (len(source), len(target)) == (4, 2)


def _summed(
    network: Network, start: int, adder: Operator, layout: Layout, machines: Sequence[Machine]
) -> tuple[Stage, ...]:
    (target,), source = adder.outputs, adder.inputs[0]
    results, count = layout.parts(network.shapes[target], machines), len(machines)
    makes = tuple({} if box is None else {target: box} for box in results)
    if adder.name == "CONV_2D":
        adds = _by_channels(network, adder, results, layout, machines)
        return (Stage(adder.index, adder.index + 1, makes, adds),)
    whole, before = network.wholes[source], network.graph.operators[start]
    rows, unit = (1, 1) if adder.index == start else _rows_of(network.shapes[before.inputs[0]])
    extents = shares(
        rows if rows > 1 else whole[-1][1] // unit, [machines[each].macs_per_s for each in layout.machines]
    )
    given: list[Box | None] = [None] * count
    for machine, (first, last) in zip(layout.machines, extents, strict=True):
        given[machine] = (*whole[:-1], (first * unit, last * unit)) if first < last else None
    adding = Stage(adder.index, adder.index + 1, makes, tuple(given))
    if adder.index == start:
        return (adding,)
    flattened = tuple({} if box is None else {source: box} for box in given)
    return Stage(start, adder.index, flattened), adding


def _rows_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many rows a map has, and elements a row."""
    return shape[1], shape[2] * shape[3]


def _by_channels(
    network: Network, adder: Operator, results: Sequence[Box | None], layout: Layout, machines: Sequence[Machine]
) -> tuple[Box | None, ...]:
    """Of what each group needs for its rows, each of its machines some of the input channels."""
    (target,), rule = adder.outputs, network.rules[adder.index]
    given: list[Box | None] = [None] * len(machines)
    for group in layout.groups:
        made = [box for each in group if (box := results[each]) is not None]
        if rule is None or not made:
            continue
        ((_, needed),) = rule.needs((*boxes.hull(made)[:-1], network.wholes[target][-1])).items()
        parts = shares(needed[-1][1], [machines[each].macs_per_s for each in group])
        for machine, (first, last) in zip(group, parts, strict=True):
            given[machine] = (*needed[:-1], (first, last)) if first < last else None
    return tuple(given)
