"""Every place where a graph can be cut: boundary, payload, and the work and weights of both sides.

TFLite's operator list is a topological order. The cut at position k has the first k operators in its head: 0 sends
the input itself, the last position computes everything locally. Pure: no file, no interpreter, no clock.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tflsplit import errors, text
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import TensorSpec, payload_bytes

# Of a layer in a message: converters join names, and the cut's id stands beside it.
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Side:
    """The head's or the tail's share: operators, multiply-accumulates an inference, bytes of constants."""

    operators: int
    macs: int
    parameter_bytes: int


@dataclass(frozen=True, slots=True, repr=False)
class Cut:
    """A place to cut. `tensors` are the boundary's indices in the whole model, in the order of `boundary`.

    `layer` is the model's layer that ends exactly here (None where none does); `is_useful` marks a natural bottleneck:
    a payload strictly below that of every earlier cut.
    """

    id: str
    position: int
    boundary: tuple[TensorSpec, ...]
    tensors: tuple[int, ...]
    head: Side
    tail: Side
    is_useful: bool
    layer: str | None = None

    def __repr__(self) -> str:
        after = f" after {self.layer}" if self.layer else ""
        plural = "" if len(self.boundary) == 1 else "s"
        return f"<cut {self.id}{after}: {self.payload_bytes:,} bytes in {len(self.boundary)} tensor{plural}>"

    @property
    def after_operator(self) -> int:
        """Index of the head's last operator; -1 where the head is empty."""
        return self.position - 1

    @property
    def payload_bytes(self) -> int:
        return payload_bytes(self.boundary)

    def as_json(self) -> dict[str, object]:
        """All of it; what a manifest keeps is this without `boundary`."""
        return {
            "id": self.id,
            "layer": self.layer,
            "after_operator": self.after_operator,
            "payload_bytes": self.payload_bytes,
            "useful": self.is_useful,
            "boundary": [spec.as_json() for spec in self.boundary],
            "boundary_tensors": list(self.tensors),
            "head_side": asdict(self.head),
            "tail_side": asdict(self.tail),
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any], tensors: Mapping[int, TensorSpec]) -> "Cut":
        """`tensors` has each that may lie on a boundary. KeyError, ValueError or TypeError for damaged fields."""
        indices = tuple(int(index) for index in fields["boundary_tensors"])
        return cls(
            id=str(fields["id"]),
            position=int(fields["after_operator"]) + 1,
            boundary=tuple(tensors[index] for index in indices),
            tensors=indices,
            head=Side(**{key: int(value) for key, value in fields["head_side"].items()}),
            tail=Side(**{key: int(value) for key, value in fields["tail_side"].items()}),
            is_useful=bool(fields["useful"]),
            layer=fields["layer"],
        )


# What converters put between a classifier's SOFTMAX and its output.
_AFTER_SOFTMAX = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE"})


def cut_id(position: int, operator_count: int) -> str:
    """`input`, `output`, or `opNNN`: the cut after operator NNN of model.tflite, as Netron numbers them."""
    if position == 0:
        return "input"
    return "output" if position == operator_count else f"op{position - 1:03d}"


def enumerate_cuts(graph: Graph) -> tuple[Cut, ...]:
    """All cuts in operator order, `input` first and `output` last. Places that `obstacles` names are left out."""
    barred = obstacles(graph)
    count = len(graph.operators)
    produced_at = _produced_at(graph)
    last_needed_at = _last_needed_at(graph)
    found: list[Cut] = []
    least = math.inf
    for position in range(count + 1):
        if position in barred:
            continue
        tensors = _boundary(graph, position, produced_at, last_needed_at)
        boundary = graph.specs(tensors)
        payload = payload_bytes(boundary)
        found.append(
            Cut(
                id=cut_id(position, count),
                position=position,
                boundary=boundary,
                tensors=tensors,
                head=_side(graph, graph.operators[:position]),
                tail=_side(graph, graph.operators[position:]),
                is_useful=payload < least,
            )
        )
        least = min(least, payload)
    return tuple(found)


def obstacles(graph: Graph) -> dict[int, str]:
    """Positions where no cut is possible, each with the reason.

    State (variable or resource tensors) must stay on one side, so no cut lies between its first and its last user, nor
    where a tensor would cross that cannot leave the interpreter, nor behind the SOFTMAX that ends a model.
    """
    barred: dict[int, str] = {}
    users: dict[int, list[int]] = {}
    resource_users: list[int] = []
    for operator in graph.operators:
        for index in {*operator.inputs, *operator.outputs} - {-1}:
            tensor = graph.tensors[index]
            if tensor.is_variable:
                users.setdefault(index, []).append(operator.index)
            elif tensor.spec is None:
                resource_users.append(operator.index)
    for index, operators in users.items():
        _bar(barred, operators, f"the state {graph.tensors[index].name!r} is used on both sides")
    _bar(barred, resource_users, "operators on both sides share a resource (state, string or list) that cannot travel")
    for position in behind_the_last_softmax(graph):
        barred[position] = "the SOFTMAX that ends the model would be in the head, where processors round it differently"
    return barred


def behind_the_last_softmax(graph: Graph) -> list[int]:
    """Places between it and the output: a cut there sends as much as before it, and is exact on fewer machines."""
    found: list[int] = []
    for operator in reversed(graph.operators):
        if operator.name == "SOFTMAX":
            found += range(operator.index + 1, len(graph.operators))
        elif operator.name not in _AFTER_SOFTMAX:
            break
    return found


def _bar(barred: dict[int, str], operators: Sequence[int], reason: str) -> None:
    if operators:
        barred.update(dict.fromkeys(range(min(operators) + 1, max(operators) + 1), reason))


def head_bytes(graph: Graph, cut: Cut) -> bytes:
    """The head as a `.tflite` file: the model's inputs in, the boundary out."""
    return flatgraph.extract(graph, 0, cut.position, graph.inputs, cut.tensors)


def tail_bytes(graph: Graph, cut: Cut) -> bytes:
    """The tail as a `.tflite` file: the boundary in, the model's outputs out."""
    return flatgraph.extract(graph, cut.position, len(graph.operators), cut.tensors, graph.outputs)


def middle_bytes(graph: Graph, start: Cut, stop: Cut) -> bytes:
    """What lies between two cuts as a `.tflite` file: the first one's boundary in, the second one's out."""
    return flatgraph.extract(graph, start.position, stop.position, start.tensors, stop.tensors)


def find(cuts: Sequence[Cut], wanted: str, fused: dict[str, int] | None = None, *, besides: Sequence[str] = ()) -> Cut:
    """The cut that `wanted` names: an id, a layer, or a boundary tensor.

    `fused` tells which layers end inside an operator (layer → operator index). Raises CutError saying why there is no
    such cut and naming those that may have been meant; `besides` are words that would have been taken too.
    """
    for cut in cuts:
        if wanted in (cut.id, cut.layer):
            return cut
    for cut in cuts:
        if len(cut.boundary) == 1 and wanted == cut.boundary[0].name:
            return cut
    if fused and wanted in fused:
        operator = fused[wanted]
        near = sorted(cuts, key=lambda cut: (abs(cut.after_operator - operator + 0.5), cut.position))[:2]
        raise errors.CutError(
            f"layer {wanted!r} ends inside operator {operator} (fused with what follows it), so no tensor of it exists "
            f"to cut at; nearest cuts: {' or '.join(_names(sorted(near, key=lambda cut: cut.position)))}"
        )
    alike = [*text.alike(wanted, besides, most=1), *_names(_alike(cuts, wanted))]
    remedy = f"did you mean {' or '.join(alike)}?" if alike else "`tflsplit inspect` lists them"
    raise errors.CutError(f"no cut or layer {wanted!r} in this model; {remedy}")


def _names(cuts: Sequence[Cut]) -> list[str]:
    return [f"{cut.id} ({text.shortened(cut.layer, _LONGEST_NAME)})" if cut.layer else cut.id for cut in cuts]


def _alike(cuts: Sequence[Cut], wanted: str) -> list[Cut]:
    """At most two: by their names, else those whose layers hold what was typed."""
    by_name = {name: cut for cut in reversed(cuts) for name in (cut.layer, cut.id) if name}
    found = [by_name[name] for name in text.alike(wanted, by_name)]
    found += [cut for cut in cuts if wanted and wanted.lower() in (cut.layer or "").lower()]
    return sorted(dict.fromkeys(found[:2]), key=lambda cut: cut.position)


def _produced_at(graph: Graph) -> dict[int, int]:
    """Tensor → the first position at which it exists. Constants and state are left out: they never cross."""
    produced = {index: 0 for index in graph.inputs if not graph.tensors[index].is_variable}
    for operator in graph.operators:
        produced.update(
            (index, operator.index + 1) for index in operator.outputs if not graph.tensors[index].is_variable
        )
    return produced


def _last_needed_at(graph: Graph) -> dict[int, int]:
    """Tensor → the last position at which it is still needed; the model's outputs are needed to the end."""
    needed: dict[int, int] = {}
    for operator in graph.operators:
        needed.update((index, operator.index) for index in operator.inputs if index != -1)
    needed.update((index, len(graph.operators)) for index in graph.outputs)
    return needed


def _boundary(graph: Graph, position: int, produced_at: dict[int, int], needed: dict[int, int]) -> tuple[int, ...]:
    if position == 0:
        return graph.inputs
    if position == len(graph.operators):
        return graph.outputs
    crossing = [index for index, made in produced_at.items() if made <= position <= needed.get(index, -1)]
    return tuple(sorted(crossing, key=lambda index: (produced_at[index], index)))


def _side(graph: Graph, operators: Sequence[Operator]) -> Side:
    buffers: dict[int, int] = {}
    for operator in operators:
        for index in operator.inputs:
            if index != -1 and graph.tensors[index].is_constant:
                buffers[graph.tensors[index].buffer] = graph.tensors[index].constant_bytes
    return Side(len(operators), sum(macs(graph, operator) for operator in operators), sum(buffers.values()))


def macs(graph: Graph, operator: Operator) -> int:
    """Multiply-accumulates of one inference, 0 for operators whose work is not counted in them."""
    count = _MACS.get(operator.name)
    return 0 if count is None else count(graph, operator)


def _shape(graph: Graph, index: int) -> tuple[int, ...]:
    return graph.tensors[index].shape


def _output_elements(graph: Graph, operator: Operator) -> int:
    return math.prod(_shape(graph, operator.outputs[0]))


def _conv_macs(graph: Graph, operator: Operator) -> int:
    # Filter (out channels, height, width, in channels); each output element reads one filter.
    return _output_elements(graph, operator) * math.prod(_shape(graph, operator.inputs[1])[1:])


def _depthwise_macs(graph: Graph, operator: Operator) -> int:
    # Filter (1, height, width, channels).
    return _output_elements(graph, operator) * math.prod(_shape(graph, operator.inputs[1])[1:3])


def _dense_macs(graph: Graph, operator: Operator) -> int:
    return _output_elements(graph, operator) * _shape(graph, operator.inputs[1])[-1]


def _transposed_conv_macs(graph: Graph, operator: Operator) -> int:
    # Inputs (output shape, filter (out, height, width, in), data): each data element feeds out x height x width.
    out, height, width, _ = _shape(graph, operator.inputs[1])
    return math.prod(_shape(graph, operator.inputs[2])) * out * height * width


def _matmul_macs(graph: Graph, operator: Operator) -> int:
    # Of (…, m, k) x (…, k, n) = (…, m, n): the inner extent k is elements of the left over (… x m).
    left, output = _shape(graph, operator.inputs[0]), _shape(graph, operator.outputs[0])
    return math.prod(output) * (math.prod(left) // max(1, math.prod(output[:-1])))


def _recurrent_macs(graph: Graph, operator: Operator) -> int:
    # Every weight matrix is used once a time step; the sequence is the second of (batch, time, features).
    weights = sum(
        math.prod(_shape(graph, index))
        for index in operator.inputs[1:]
        if index != -1 and graph.tensors[index].is_constant and len(_shape(graph, index)) == 2
    )
    return weights * _shape(graph, operator.inputs[0])[1]


_MACS: dict[str, Callable[[Graph, Operator], int]] = {
    "CONV_2D": _conv_macs,
    "DEPTHWISE_CONV_2D": _depthwise_macs,
    "FULLY_CONNECTED": _dense_macs,
    "TRANSPOSE_CONV": _transposed_conv_macs,
    "BATCH_MATMUL": _matmul_macs,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent_macs,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent_macs,
}
