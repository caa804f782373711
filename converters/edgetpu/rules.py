"""Which operators the Edge TPU compiler 16 would map, judged from the file alone: no compiler, no TensorFlow.

The table follows the compiler's documentation and public logs: the operator, the newest version that TensorFlow Lite
2.5 (as old as the compiler) knows, and its limits. What the compiler decides by sizes and memory is not in it;
`docs/coral.md` lists that. Data type and rank are the same for all operators and checked by `_general`.
"""

from collections.abc import Callable, Mapping, Sequence

from converters.edgetpu import limits
from converters.edgetpu.advice import ADVICE
from tflsplit.graph.cuts import Cut
from tflsplit.graph.flatgraph import Graph, Operator, Tensor
from tflsplit.values.classes import dataclass

COMPILED = "edgetpu-custom-op"
CONSEQUENCE = "after the first operator that does not map, everything runs on the CPU"

Limit = Callable[[Graph, Operator], str | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """An operator that can map: the newest version known, and its limits beyond type and rank."""

    newest: int
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """One operator. `maps` is about the operator alone, with the `reason` where it does not. `is_on_tpu` says where it
    runs: an operator that maps still runs on the CPU if one before it does not map. `is_confirmed` says whether
    Google's compiler decided the same in a public pair of original and compiled file."""

    index: int
    op: str
    version: int
    layer: str | None
    maps: bool
    reason: str | None
    is_on_tpu: bool
    is_confirmed: bool

    def as_json(self) -> dict[str, object]:
        return {
            "index": self.index,
            "op": self.op,
            "version": self.version,
            "layer": self.layer,
            "maps": self.maps,
            "reason": self.reason,
            "confirmed": self.is_confirmed,
            "runs_on": "edgetpu" if self.is_on_tpu else "cpu",
            "consequence": CONSEQUENCE if self.maps and not self.is_on_tpu else None,
        }


_CONV = (limits.constant_parameters,)
_REDUCTION = (limits.constant_parameters, limits.keeps_batch)
_RESIZE = (limits.constant_parameters, limits.more_than_one_pixel, limits.whole_multiple)
_DENSE = (
    limits.constant_parameters,
    limits.default_weights_format,
    limits.one_row,
    limits.one_scale_for_all_weights,
)

# Laid out by hand: it is a table.
# fmt: off
RULES: Mapping[str, Rule] = {
    "ADD":                          Rule(4),
    "AVERAGE_POOL_2D":              Rule(3, (limits.no_fused_activation,)),
    "CONCATENATION":                Rule(3, (limits.no_fused_activation, limits.padding_only)),
    "CONV_2D":                      Rule(5, (*_CONV, limits.ungrouped)),
    "DEPTHWISE_CONV_2D":            Rule(6, _CONV),
    "EXPAND_DIMS":                  Rule(1, (limits.constant_parameters,)),
    "FULLY_CONNECTED":              Rule(9, _DENSE),
    "L2_NORMALIZATION":             Rule(2),
    "LOGISTIC":                     Rule(3),
    "LSTM":                         Rule(4),
    "MAXIMUM":                      Rule(4),
    "MAX_POOL_2D":                  Rule(3, (limits.no_fused_activation,)),
    "MEAN":                         Rule(3, (*_REDUCTION, limits.whole_fours)),
    "MINIMUM":                      Rule(4),
    "MUL":                          Rule(4),
    "PACK":                         Rule(3, (limits.unpacked_batch,)),
    "PAD":                          Rule(4, (limits.constant_parameters, limits.unpadded_batch)),
    "PRELU":                        Rule(1, (limits.constant_parameters, limits.one_alpha_a_channel)),
    "QUANTIZE":                     Rule(2),
    "REDUCE_MAX":                   Rule(3, _REDUCTION),
    "REDUCE_MIN":                   Rule(3, _REDUCTION),
    "RELU":                         Rule(2),
    "RELU6":                        Rule(2),
    "RELU_N1_TO_1":                 Rule(1),
    "RESHAPE":                      Rule(1, (limits.constant_parameters,)),
    "RESIZE_BILINEAR":              Rule(3, _RESIZE),
    "RESIZE_NEAREST_NEIGHBOR":      Rule(3, _RESIZE),
    "RSQRT":                        Rule(2),
    "SLICE":                        Rule(4, (limits.constant_parameters,)),
    "SOFTMAX":                      Rule(3, (limits.one_dimension,)),
    "SPACE_TO_DEPTH":               Rule(2),
    "SPLIT":                        Rule(4, (limits.constant_axis, limits.unsplit_batch)),
    "SQUARED_DIFFERENCE":           Rule(2),
    "SQUEEZE":                      Rule(2),
    "STRIDED_SLICE":                Rule(4, (limits.constant_parameters, limits.plain_slice)),
    "SUB":                          Rule(5),
    "SUM":                          Rule(2, _REDUCTION),
    "TANH":                         Rule(3),
    "TILE":                         Rule(3, (limits.constant_parameters,)),
    "TRANSPOSE":                    Rule(5, (limits.constant_parameters, limits.unmoved_batch, limits.small_enough)),
    "TRANSPOSE_CONV":               Rule(3, (limits.constant_filter,)),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": Rule(3),
}
# fmt: on

# What public pairs of original and compiled file show: operators that were put on the Edge TPU, and limits for which
# one was left to the CPU. TILE is of a pair that was looked at once and does not stand beside the tests;
# `tests/converters/edgetpu/test_pairs.py` reads the others. That a large TRANSPOSE stays on the CPU was seen too, but
# not from how many elements on.
CONFIRMED = frozenset({"ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE", "SOFTMAX", "TILE"})
_CONFIRMED_LIMITS = frozenset({limits.more_than_one_pixel})


def judge(graph: Graph, layers: Mapping[int, str | None] | None = None) -> tuple[Verdict, ...]:
    """A verdict for each operator, in order. `layers` names the layer that each operator ends, where one does."""
    names = layers or {}
    found: list[Verdict] = []
    is_on_tpu = True
    for operator in graph.operators:
        reasons, is_confirmed = _reasons(graph, operator)
        is_on_tpu = is_on_tpu and not reasons
        found.append(
            Verdict(
                index=operator.index,
                op=operator.name,
                version=operator.version,
                layer=names.get(operator.index),
                maps=not reasons,
                reason="; ".join(reasons) or None,
                is_on_tpu=is_on_tpu,
                is_confirmed=is_confirmed,
            )
        )
    return tuple(found)


def first_unmapped(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Where the Edge TPU's part ends; None where all of the model maps."""
    return next((verdict for verdict in verdicts if not verdict.maps), None)


def tpu_cut(verdicts: Sequence[Verdict], found: Sequence[Cut]) -> Cut | None:
    """Of a model's cuts the last whose head runs wholly on the Edge TPU: right before the first operator that does not
    map, or earlier where no cut is there. None where not even the first operator maps.
    """
    unmapped = first_unmapped(verdicts)
    limit = len(verdicts) if unmapped is None else unmapped.index
    whole = [cut for cut in found if 0 < cut.position <= limit]
    return max(whole, key=lambda cut: cut.position, default=None)


def is_compiled(graph: Graph) -> bool:
    """Whether a file has been through the compiler already."""
    return any(operator.name == COMPILED for operator in graph.operators)


def _reasons(graph: Graph, operator: Operator) -> tuple[list[str], bool]:
    """Why an operator does not map, and whether that, or that it does, is confirmed."""
    rule = RULES.get(operator.name)
    if rule is None:
        return [f"{operator.name} is no operator of the Edge TPU{ADVICE.get(operator.name, '')}"], False
    general = _general(graph, operator)
    if general:
        return general, False
    broken = {limit: words for limit in rule.limits if (words := limit(graph, operator))}
    if broken:
        return list(broken.values()), not _CONFIRMED_LIMITS.isdisjoint(broken)
    if operator.version > rule.newest:
        return [f"version {operator.version} is newer than the compiler, which knows {rule.newest}"], False
    return [], operator.name in CONFIRMED


# Weights are of 8 bits, biases of 32; axes, shapes and slices are int32 or int64.
_CONSTANT_TYPES = ("int8", "uint8", "int32", "int64")


def _general(graph: Graph, operator: Operator) -> list[str]:
    """Type and rank of every tensor. The operator's own limits are not asked of tensors of a wrong kind."""
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    for tensor in tensors:
        if tensor.is_constant and tensor.type_name not in _CONSTANT_TYPES:
            return [f"its constant {tensor.name!r} is {tensor.type_name}; only int8 and uint8 weights map"]
    for tensor in (tensor for tensor in tensors if not tensor.is_constant and not tensor.is_variable):
        if tensor.is_dynamic:
            return [f"{tensor.name!r} has a shape known only at run time; convert with a fixed input shape"]
        if tensor.type_name not in ("int8", "uint8") and not _is_parameter(graph, operator, tensor):
            return [f"works on {tensor.type_name} ({tensor.name!r}); only int8 and uint8 map"]
        if any(extent != 1 for extent in tensor.shape[:-3]):
            return [
                f"works on {limits.extents(tensor.shape)}; only the 3 innermost extents may differ from 1 (batch 1)"
            ]
    return []


def _is_parameter(graph: Graph, operator: Operator, tensor: Tensor) -> bool:
    """A shape or an axis that is computed is named by the limit that asks for a constant."""
    first = operator.inputs[0] if operator.inputs else -1
    return tensor.type_name in ("int32", "int64") and tensor.index in operator.inputs and tensor.index != first
