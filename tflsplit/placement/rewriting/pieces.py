"""One machine's piece of one stage: what it needs of the tensors before it, what it costs, and its model file."""

import enum
import math
from collections.abc import Mapping

from tflsplit.graph.flatgraph import Operator
from tflsplit.placement.rewriting import boxes, rules, sum_models
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.building import Building
from tflsplit.placement.rewriting.network import Network
from tflsplit.values.classes import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an operator's result: multiply-accumulates for it, bytes of the constants that it reads, and of its
    input and result together. `work` is its share of what the whole operator computes, which takes so many times as
    long as that says: `slower`."""

    operator: Operator
    made: Mapping[int, Box]
    macs: int
    parameter_bytes: int
    feature_bytes: int
    work: float = 1.0
    slower: float = 1.0


class Role(enum.Enum):
    """What a piece gives: parts of tensors, or sums that go into a result; or it makes the result of their total."""

    MAKES = "makes"
    ADDS = "adds"
    FINISHES = "finishes"


@dataclass(frozen=True, slots=True)
class Piece:
    """`inputs` are the parts of tensors that it needs, `outputs` those that it was asked for, `parts` what it runs.
    Sums are named by the tensor that they are for, and are int32."""

    inputs: Mapping[int, Box]
    outputs: Mapping[int, Box]
    parts: tuple[Part, ...]
    role: Role = Role.MAKES

    @property
    def macs(self) -> int:
        return sum(part.macs for part in self.parts)

    @property
    def parameter_bytes(self) -> int:
        return sum(part.parameter_bytes for part in self.parts)

    @property
    def feature_bytes(self) -> int:
        """The largest input and result of an operator, together."""
        return max((part.feature_bytes for part in self.parts), default=0)


def piece(network: Network, start: int, stop: int, outputs: Mapping[int, Box]) -> Piece:
    """The least of operators `start:stop` that makes these parts of tensors. A tensor from before may be among them."""
    known = network.pieces.setdefault((stop, *outputs.items()), {})
    found: Piece | None = known.get(start)
    if found is None:
        # From one that begins later on, for a search asks for longer and longer ones.
        later = min((each for each in known if each > start), default=stop)
        needed = {tensor: box for tensor, box in outputs.items() if not boxes.is_empty(box)}
        found = _longer(network, start, later, known.get(later) or Piece(needed, dict(outputs), ()))
        known[start] = found
    return found


def _longer(network: Network, start: int, later: int, made_later: Piece) -> Piece:
    """The piece with operators `start:later` before it."""
    needed, parts = dict(made_later.inputs), []
    for operator in reversed(network.graph.operators[start:later]):
        wanted = {tensor: needed.pop(tensor) for tensor in operator.outputs if tensor in needed}
        if not wanted:
            continue
        made, needs, macs, share = _backwards(network, operator, wanted)
        features = sum(boxes.volume(box) * network.item_bytes[t] for t, box in (*made.items(), *needs.items()))
        constants = math.ceil(network.constant_bytes[operator.index] * share)
        work = sum(map(boxes.volume, made.values())) / sum(boxes.volume(network.wholes[tensor]) for tensor in made)
        parts.append(Part(operator, made, macs, constants, features, work))
        for tensor, box in needs.items():
            needed[tensor] = boxes.hull([box, needed[tensor]]) if tensor in needed else box
    return Piece(needed, made_later.outputs, (*reversed(parts), *made_later.parts))


def _backwards(
    network: Network, operator: Operator, wanted: Mapping[int, Box]
) -> tuple[dict[int, Box], dict[int, Box], int, float]:
    """What is made so that this much is, what that needs, its multiply-accumulates, and its share of the constants."""
    rule = network.rules[operator.index]
    if rule is None:
        made = {tensor: network.wholes[tensor] for tensor in operator.outputs}
        return made, rules.needs_of_all(network.graph, operator), 0, 1.0
    ((tensor, box),) = wanted.items()
    widened = rule.widened(box)
    share = 1.0
    if operator.name in rules.FILTERED:
        share = (widened[-1][1] - widened[-1][0]) / network.shapes[tensor][-1]
    return {tensor: widened}, rule.needs(widened), rule.macs(widened), share


def file_name(step: int, made: Piece) -> str:
    """Of its model, in the folder of its machine."""
    return f"stage{step:02d}{'_finish' if made.role is Role.FINISHES else ''}.tflite"


def model(network: Network, made: Piece) -> bytes:
    """A `.tflite` whose inputs and outputs are those of the piece, each in the order of `Piece`."""
    if made.role is not Role.MAKES:
        write = sum_models.adding if made.role is Role.ADDS else sum_models.finishing
        return write(network.graph, made.parts[0].operator, *made.inputs.values(), *made.outputs.values())
    building = Building(network.graph)
    inputs = [building.receive(tensor, box) for tensor, box in made.inputs.items()]
    for part in made.parts:
        rule = network.rules[part.operator.index]
        if rule is None:
            building.as_it_is(part.operator)
        else:
            rule.build(building, next(iter(part.made.values())))
    return building.packed(inputs, [building.take(tensor, box) for tensor, box in made.outputs.items()])
