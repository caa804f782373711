"""Float tails: what the float model still has to do behind a cut, fed by the int8 tensors that cross there.

A float tail is a slice of the package's one float model with a door before it: it takes the cut's boundary exactly as
the int8 tail would, and its first operators turn that into real values. Heads, frames and edges know nothing of it.
Which float tensor a boundary tensor corresponds to is found where packages are made; here it is given.
"""

from collections.abc import Sequence
from typing import Any

from tflsplit import errors
from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import CODE_OF_DTYPE, TensorSpec

# The first version of DEQUANTIZE that takes the type.
_DEQUANTIZE_VERSIONS = {"uint8": 1, "int8": 2, "int16": 3}


def tail_bytes(graph: Graph, boundary: Sequence[TensorSpec], counterparts: Sequence[int]) -> bytes:
    """The tail as a `.tflite` file: `boundary` in, the float model's outputs out.

    `counterparts` are the tensors of `graph` that `boundary` stands for, one each. Where two stand for the same one
    (a tensor and its requantisation), the first is used and the other ignored. Raises CutError as `remainder` does.
    """
    part = flatgraph.read(remainder_bytes(graph, counterparts))
    door = _Door(part.source)
    inside = dict(zip(_distinct(counterparts), part.inputs, strict=True))
    opened: set[int] = set()
    for spec, counterpart in zip(boundary, counterparts, strict=True):
        door.admit(spec, None if counterpart in opened else inside[counterpart])
        opened.add(counterpart)
    return flatgraph.pack(door.close())


def remainder_bytes(graph: Graph, counterparts: Sequence[int]) -> bytes:
    """The same without the door: the distinct `counterparts` in, as the float model itself has them."""
    return flatgraph.select(graph, remainder(graph, counterparts), _distinct(counterparts), graph.outputs)


def start_bytes(graph: Graph, counterparts: Sequence[int]) -> bytes:
    """The other side of `remainder_bytes`: the float model's inputs in, the distinct `counterparts` out."""
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


class _Door:
    """Puts stored tensors before a parsed model that takes real ones; `source` is changed in place."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._subgraph = source.subgraphs[0]
        self._schema = flatgraph.schema()
        self._inputs: list[int] = []
        self._operators: list[Any] = []

    def admit(self, spec: TensorSpec, inside: int | None) -> None:
        """Take one tensor in as `inside`; None ignores it. What is not quantised passes as it is."""
        if inside is not None and not spec.is_quantised:
            self._inputs.append(inside)
            return
        tensor = self._tensor(spec)
        self._inputs.append(tensor)
        if inside is not None:
            real = self._subgraph.tensors[inside]
            real.name = real.name + b"/real"  # the boundary has taken the name
            self._operators.append(self._dequantise(spec.dtype, tensor, inside))

    def close(self) -> Any:
        self._subgraph.inputs = self._inputs
        self._subgraph.operators = self._operators + list(self._subgraph.operators or [])
        return self._source

    def _tensor(self, spec: TensorSpec) -> int:
        made = self._schema.TensorT()
        made.name, made.shape, made.type = spec.name.encode(), list(spec.shape), CODE_OF_DTYPE[spec.dtype]
        if spec.is_quantised:
            made.quantization = self._schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [spec.scale], [spec.zero_point]
        self._subgraph.tensors.append(made)
        return len(self._subgraph.tensors) - 1

    def _dequantise(self, dtype: str, stored: int, real: int) -> Any:
        if dtype not in _DEQUANTIZE_VERSIONS:
            raise errors.CutError(f"a boundary of type {dtype} cannot be turned into real values")
        code, made = self._schema.OperatorCodeT(), self._schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = self._schema.BuiltinOperator.DEQUANTIZE
        code.version = _DEQUANTIZE_VERSIONS[dtype]
        self._source.operatorCodes.append(code)
        made.opcodeIndex = len(self._source.operatorCodes) - 1
        made.inputs, made.outputs = [stored], [real]
        return made
