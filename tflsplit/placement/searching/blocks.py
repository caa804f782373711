"""A run of operators in one layout: as one stage that recomputes overlaps, or stage by stage with exchanges between."""

import enum
import itertools
from collections.abc import Sequence

from tflsplit.graph.flatgraph import Operator
from tflsplit.placement import placement
from tflsplit.placement.machines import Machine
from tflsplit.placement.placement import Stage
from tflsplit.placement.rewriting import partial_sums, rules
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.searching.layouts import Layout

# Operators that multiply and add.
_HEAVY = {*rules.FILTERED, "TRANSPOSE_CONV"}


class Manner(enum.Enum):
    """How a run is staged."""

    FUSED = "fused"
    EACH = "each"


def is_heavy(network: Network, operator: Operator) -> bool:
    """Whether it is worth an exchange of its own; the others go with the one before them."""
    return operator.name in _HEAVY or not _is_shareable(network, operator)


def stages(
    network: Network, start: int, stop: int, layout: Layout, machines: Sequence[Machine], *, manner: Manner
) -> tuple[Stage, ...]:
    """Operators `start:stop`, with what is made at the end of each stage laid out in this way. What cannot be shared
    runs on the layout's first machine, and sums over rows are added up where rows are what is shared."""
    edges = [start]
    for operator in network.graph.operators[start:stop]:
        apart = _is_apart(network, operator, layout)
        if operator.index > start and (apart or (manner is Manner.EACH and is_heavy(network, operator))):
            edges.append(operator.index)
        if apart and operator.index + 1 < stop:
            edges.append(operator.index + 1)
    edges = [*dict.fromkeys(edges), stop]
    found = [_stage(network, *pair, layout, machines) for pair in itertools.pairwise(edges)]
    return tuple(stage for stage in found if stage is not None)


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
    return all(len(group) == 1 for group in layout.groups) and partial_sums.over_rows(network, operator)
