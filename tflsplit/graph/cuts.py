"""Every place where a graph can be cut: boundary, payload, and the work and weights of both sides.

TFLite's operator list is a topological order. The cut at position k has the first k operators in its head: 0 sends
the input itself, the last position computes everything locally. Pure: no file, no interpreter, no clock.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from tflsplit import errors, text
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.tensors import TensorSpec, payload_bytes
from tflsplit.values.classes import asdict, dataclass

if TYPE_CHECKING:  # only who writes a model describes it
    from tflsplit.graph.metadata import Description

# Of a layer in a message: converters join names, and the cut's id stands beside it.
_LONGEST_NAME = 60
# More tensors than this cross only between time steps: U-Nets and pyramids of features have up to six at once.
_CROWD = 8


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
    a payload strictly below that of every earlier cut, and at most half of it where the cut is crowded.
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

    @property
    def is_listed(self) -> bool:
        """Whether it is worth showing, proving and timing unasked. An unrolled recurrent layer has a thousand places
        between its time steps, where all that the steps left to do will read is on the boundary."""
        return self.is_useful or not is_crowded(self.boundary)

    def as_json(self) -> dict[str, object]:
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


# What converters put between a classifier's SOFTMAX and its output.
_AFTER_SOFTMAX = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE"})


def cut_id(position: int, operator_count: int) -> str:
    """`input`, `output`, or `opNNN`: the cut after operator NNN of model.tflite, as Netron numbers them."""
    if position == 0:
        return "input"
    return "output" if position == operator_count else f"op{position - 1:03d}"


def is_crowded(boundary: Sequence[object]) -> bool:
    return len(boundary) > _CROWD


def enumerate_cuts(graph: Graph) -> tuple[Cut, ...]:
    """All cuts in operator order, `input` first and `output` last. Places that `obstacles` names are left out."""
    barred = obstacles(graph)
    count = len(graph.operators)
    heads = _sides(graph, graph.operators)
    tails = _sides(graph, graph.operators[::-1])[::-1]
    found: list[Cut] = []
    least = math.inf  # of the useful ones before
    for position, tensors in enumerate(_boundaries(graph)):
        if position in barred:
            continue
        boundary = graph.specs(tensors)
        payload = payload_bytes(boundary)
        is_useful = payload <= least / 2 if is_crowded(boundary) else payload < least
        found.append(
            Cut(
                id=cut_id(position, count),
                position=position,
                boundary=boundary,
                tensors=tensors,
                head=heads[position],
                tail=tails[position],
                is_useful=is_useful,
            )
        )
        least = payload if is_useful else least
    return tuple(found)


def obstacles(graph: Graph) -> dict[int, str]:
    """Positions where no cut is possible, each with the reason.

    State (variable or resource tensors) must stay on one side, so no cut lies between its first and its last user, nor
    where a tensor would cross that cannot leave the interpreter, nor behind the SOFTMAX that ends a model, nor within
    an ending that computes in float.
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
    first_float = next((one.index for one in graph.operators if _gives_float(graph, one)), len(graph.operators))
    for position in range(first_float + 1, len(graph.operators)):
        barred[position] = "the model's ending, which computes in float, would be in the head in part"
    for position in behind_the_last_softmax(graph):
        barred[position] = "the SOFTMAX that ends the model would be in the head, where processors round it differently"
    return barred


def _gives_float(graph: Graph, operator: Operator) -> bool:
    return any(graph.tensors[index].type_name == "float32" for index in operator.outputs if index >= 0)


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


def head_bytes(graph: Graph, cut: Cut, described: "Description | None" = None) -> bytes:
    """The head as a `.tflite` file: the model's inputs in, the boundary out."""
    return flatgraph.extract(graph, 0, cut.position, graph.inputs, cut.tensors, described=described)


def tail_bytes(graph: Graph, cut: Cut, described: "Description | None" = None) -> bytes:
    """The tail as a `.tflite` file: the boundary in, the model's outputs out."""
    return flatgraph.extract(graph, cut.position, len(graph.operators), cut.tensors, graph.outputs, described=described)


def middle_bytes(graph: Graph, start: Cut, stop: Cut, described: "Description | None" = None) -> bytes:
    """What lies between two cuts as a `.tflite` file: the first one's boundary in, the second one's out."""
    return flatgraph.extract(graph, start.position, stop.position, start.tensors, stop.tensors, described=described)


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


def _boundaries(graph: Graph) -> Iterator[tuple[int, ...]]:
    """The tensors that cross at each position from 0 on, those made earlier first."""
    produced_at, needed = _produced_at(graph), _last_needed_at(graph)
    begin, end = defaultdict(list), defaultdict(list)
    for index, made in sorted(produced_at.items()):
        if needed.get(index, -1) >= made:
            begin[made].append(index)
            end[needed[index] + 1].append(index)
    crossing: dict[int, None] = {}  # in order
    for position in range(len(graph.operators)):
        crossing.update(dict.fromkeys(begin[position]))
        for index in end[position]:
            del crossing[index]
        yield tuple(crossing) if position else graph.inputs
    yield graph.outputs


def _sides(graph: Graph, operators: Sequence[Operator]) -> list[Side]:
    """The share of none of these operators, of the first, of the first two, and so on; equal weights count once."""
    found = [Side(0, 0, 0)]
    buffers: set[int] = set()
    for operator in operators:
        before = found[-1]
        new = {
            graph.tensors[index].buffer: graph.tensors[index].constant_bytes
            for index in operator.inputs
            if index != -1 and graph.tensors[index].is_constant and graph.tensors[index].buffer not in buffers
        }
        buffers.update(new)
        weights = before.parameter_bytes + sum(new.values())
        found.append(Side(before.operators + 1, before.macs + macs(graph, operator), weights))
    return found


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
