"""Sums that several machines add up, and one finishes as the runtime would: exact, since integers add in any order.

MEAN over rows and columns depends on the sum of each channel alone. A convolution or dense layer over some of the input
channels gives int32 partial sums, whose total is requantised as the runtime does it. Both were compared with what the
runtime gives: no element of 115,200 and of 6,000,000 differed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from tflsplit import errors
from tflsplit.graph.flatgraph import Operator
from tflsplit.placement.rewriting import boxes, elements, sum_models
from tflsplit.placement.rewriting.boxes import Box
from tflsplit.placement.rewriting.network import Network
from tflsplit.placement.rewriting.pieces import Part, Piece, Role
from tflsplit.placement.rewriting.rules import Rule

SUM_BYTES = 4  # of one sum on the wire
# How many times as long sums take as the operator itself for as many multiply-accumulates, and what a weight takes in
# memory: in float32, and with int8 in BATCH_MATMUL. Measured for sixths of layers of VGG-16 and MobileNetV2 on x86-64:
# 1.1 to 1.8 (convolutions) and 1.7 to 6 (dense) without instructions for int8 dot products, 3.6 and 6.5 with them.
_SLOWER = {"CONV_2D": (2.5, 4), "FULLY_CONNECTED": (3.0, 1)}


def over_rows(network: Network, operator: Operator) -> bool:
    """Whether rows of the input can be added up apart."""
    return operator.name == "MEAN" and can_add(network, operator)


def can_add(network: Network, operator: Operator) -> bool:
    """Whether parts of the operator's input can be summed apart."""
    graph = network.graph
    if network.rules[operator.index] is None:
        return False
    source, target = (network.shapes[index] for index in (operator.inputs[0], operator.outputs[0]))
    if operator.name == "MEAN":
        is_plain = graph.tensors[operator.inputs[0]].type_name in ("int8", "uint8")
        return is_plain and elements.Mean(graph, operator).axes == {1, 2} and len(source) == 4 and source[0] == 1
    if operator.name not in _SLOWER or not sum_models.can_requantise(graph, operator):
        return False
    weights = network.shapes[operator.inputs[1]]
    return source[-1] == weights[-1] and (operator.name == "CONV_2D" or source[:-1] == target[:-1])


def contributions(
    network: Network, operator: Operator, adds: Sequence[Box | None], results: Iterable[Box | None]
) -> list[dict[Box, Box]]:
    """For each machine's part of the input, what of it goes into the sums for each part of the result: all that this
    needs, but on the axes that are added up. Where several ways add up to a result, it is the first from its machine
    on. SettingsError where none does."""
    found: list[dict[Box, Box]] = [{} for _ in adds]
    for machine, made in enumerate(results):
        if made is None or any(made in given for given in found):
            continue
        needed = _needed(network, operator, made)
        order = (*range(machine, len(adds)), *range(machine))
        given: dict[tuple[int, ...], list[tuple[int, Box]]] = {}
        for other in order:
            if (part := _shared(operator, adds[other], needed)) is not None:
                given.setdefault(_corner(part), []).append((other, part))
        chosen = _cover([needed], given)
        if chosen is None:
            raise errors.SettingsError(f"the parts of {operator.name} {operator.index} do not add up to {made}")
        for other, part in chosen:
            found[other][made] = part
    return found


def _cover(
    missing: list[Box], given: Mapping[tuple[int, ...], Sequence[tuple[int, Box]]]
) -> tuple[tuple[int, Box], ...] | None:
    """Parts that make up what is missing, without an overlap, with whose they are; they are given by their corners. One
    begins where that does."""
    if not missing:
        return ()
    for each, part in given.get(min(map(_corner, missing)), ()):
        if not boxes.minus(part, missing):
            rest = _cover([left for box in missing for left in boxes.minus(box, [part])], given)
            if rest is not None:
                return ((each, part), *rest)
    return None


def _corner(box: Box) -> tuple[int, ...]:
    return tuple([start for start, _ in box])


def _shared(operator: Operator, part: Box | None, needed: Box) -> Box | None:
    """What of a part is needed; None where it lacks something on an axis that is not added up."""
    if part is None:
        return None
    shared, summed = boxes.common(part, needed), _summed(operator, len(needed))
    lacks = any(
        one != other for axis, (one, other) in enumerate(zip(shared, needed, strict=True)) if axis not in summed
    )
    return None if lacks or boxes.is_empty(shared) else shared


def adding(network: Network, operator: Operator, gives: Mapping[Box, Box]) -> Piece | None:
    """The piece that makes a machine's sums for all results that it has something for: one of `contributions`."""
    if not gives:
        return None
    made, given = boxes.hull(gives), boxes.hull(gives.values())
    (target,), source = operator.outputs, operator.inputs[0]
    whole = _needed(network, operator, network.wholes[target])
    share = math.prod(_share(given, whole, axis) for axis in _summed(operator, len(whole)))
    slower, weight_bytes = _SLOWER.get(operator.name, (1.0, 0))
    part_made = Part(
        operator,
        {target: made},
        macs=round(_rule(network, operator).macs(made) * share),
        parameter_bytes=math.ceil(
            weight_bytes * _weights(network, operator) * _share(made, network.wholes[target], -1) * share
        ),
        feature_bytes=boxes.volume(given) * network.item_bytes[source] + boxes.volume(made) * SUM_BYTES,
        work=boxes.volume(made) / boxes.volume(network.wholes[target]) * share,
        slower=slower,
    )
    return Piece({source: given}, {target: made}, (part_made,), Role.ADDS)


def finishing(network: Network, operator: Operator, made: Box) -> Piece:
    """From the total of the sums to that part of the result; its input is the result's tensor, in int32."""
    (target,) = operator.outputs
    features = boxes.volume(made) * (SUM_BYTES + network.item_bytes[target])
    return Piece({target: made}, {target: made}, (Part(operator, {target: made}, 0, 0, features, 0.0),), Role.FINISHES)


def _needed(network: Network, operator: Operator, made: Box) -> Box:
    return _rule(network, operator).needs(made)[operator.inputs[0]]


def _rule(network: Network, operator: Operator) -> Rule:
    found = network.rules[operator.index]
    if found is None:
        raise ValueError(f"operator {operator.index}, {operator.name}, cannot be shared")
    return found


def _summed(operator: Operator, rank: int) -> tuple[int, ...]:
    """Of the input, the axes that are added up."""
    return (1, 2) if operator.name == "MEAN" else (rank - 1,)


def _share(box: Box, whole: Box, axis: int) -> float:
    return (box[axis][1] - box[axis][0]) / (whole[axis][1] - whole[axis][0])


def _weights(network: Network, operator: Operator) -> int:
    return math.prod(network.shapes[operator.inputs[1]])
