"""Float tails: the operators of the float model behind a cut, fed by the int8 tensors that cross there.

A float tail is a slice of the package's float model with DEQUANTIZE operators before it: it takes the cut's boundary as
the int8 tail does and turns it into real values first. Nothing changes for heads, frames and edges. Which float tensor
a boundary tensor corresponds to is found when a package is made (`converters.float_model.matching`).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import CODE_OF_DTYPE, TensorSpec

if TYPE_CHECKING:  # only who writes a model describes it
    from tflsplit.graph.metadata import Description

# The first version of DEQUANTIZE that takes the type.
_DEQUANTIZE_VERSIONS = {"uint8": 1, "int8": 2, "int16": 3}


def tail_bytes(
    graph: Graph,
    boundary: Sequence[TensorSpec],
    counterparts: Sequence[int],
    described: "Description | None" = None,
) -> bytes:
    """The tail as a `.tflite` file: `boundary` in, the float model's outputs out.

    `counterparts` are the tensors of `graph` that `boundary` stands for, one each. Where two stand for the same one
    (a tensor and its requantisation), the first is used and the other ignored. Raises CutError as `remainder` does.
    """
    edit = Edit(flatgraph.read(remainder_bytes(graph, counterparts)))
    waiting = dict(zip(_distinct(counterparts), edit.graph.inputs, strict=True))
    inputs, dequantising = [], []
    for spec, counterpart in zip(boundary, counterparts, strict=True):
        real = waiting.pop(counterpart, None)
        if real is not None and not spec.is_quantised:
            inputs.append(real)
            continue
        inputs.append(_stored(edit, spec))
        if real is not None:
            dequantising.append(_dequantise(edit, spec.dtype, inputs[-1], real))
    edit.subgraph.inputs = inputs
    edit.subgraph.operators = [*dequantising, *edit.subgraph.operators]
    return flatgraph.pack(edit.source, described)


def _stored(edit: Edit, spec: TensorSpec) -> int:
    quantisation = None
    if spec.is_quantised:
        quantisation = edit.schema.QuantizationParametersT()
        quantisation.scale, quantisation.zeroPoint = [spec.scale], [spec.zero_point]
    return edit.tensor(spec.name, spec.shape, CODE_OF_DTYPE[spec.dtype], quantisation=quantisation)


def _dequantise(edit: Edit, dtype: str, stored: int, real: int) -> Any:
    if dtype not in _DEQUANTIZE_VERSIONS:
        raise errors.CutError(f"a boundary of type {dtype} cannot be turned into real values")
    edit.subgraph.tensors[real].name += b"/real"  # the boundary's tensor has the name
    return edit.operator("DEQUANTIZE", _DEQUANTIZE_VERSIONS[dtype], (stored,), real)


def remainder_bytes(graph: Graph, counterparts: Sequence[int]) -> bytes:
    """The tail without its DEQUANTIZE operators: the distinct `counterparts` in, as the float model has them."""
    return flatgraph.select(graph, remainder(graph, counterparts), _distinct(counterparts), graph.outputs)


def start_bytes(graph: Graph, counterparts: Sequence[int]) -> bytes:
    """What comes before `remainder_bytes`: the float model's inputs in, the distinct `counterparts` out."""
    wanted = _distinct(counterparts)
    return flatgraph.select(graph, _needed(graph, wanted, ()), graph.inputs, wanted)


def remainder(graph: Graph, counterparts: Sequence[int]) -> tuple[int, ...]:
    """The operators that compute the model's outputs from `counterparts`, in file order.

    Raises CutError where they need something else as well, or share state with the operators before.
    """
    needed = _needed(graph, graph.outputs, counterparts)
    used = {index for operator in needed for index in graph.operators[operator].inputs}
    for index in sorted(used.intersection(graph.inputs).difference(counterparts)):
        raise errors.CutError(f"the float model still needs its input {graph.tensors[index].name!r} there")
    behind = set(needed)
    for operator in graph.operators:
        shared = [index for index in used.intersection(operator.inputs) - {-1} if graph.tensors[index].is_variable]
        if shared and operator.index not in behind:
            raise errors.CutError(
                f"the state {graph.tensors[shared[0]].name!r} of the float model is used on both sides"
            )
    return needed


def _needed(graph: Graph, wanted: Sequence[int], given: Sequence[int]) -> tuple[int, ...]:
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    found: set[int] = set()
    pending = [index for index in wanted if index not in given]
    while pending:
        maker = makers.get(pending.pop())
        if maker is not None and maker.index not in found:
            found.add(maker.index)
            pending += [index for index in maker.inputs if index not in given]
    return tuple(sorted(found))


def _distinct(counterparts: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(counterparts))
