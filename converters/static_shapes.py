"""What a `.tflite` leaves open, or works out anew each time though it is always the same: fixed, for one sample."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from converters.loading import quiet
from converters.rewriting import Rewritten
from tflsplit import errors, text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import CODE_OF_DTYPE, Array
from tflsplit.package import verify

_WHOLE_NUMBERS = {CODE_OF_DTYPE["int32"], CODE_OF_DTYPE["int64"]}


def read(path: Path) -> flatgraph.Graph:
    """The graph of a `.tflite` file, what `with_axes_of_vectors` mends mended."""
    return flatgraph.read(with_axes_of_vectors(path.read_bytes(), str(path)).data, name=str(path))


def with_axes_of_vectors(data: bytes, name: str) -> Rewritten:
    """Scales of a tensor of one dimension lie along that one; older converters wrote 3 for biases, as for filters.

    LiteRT refuses such a file, so there is no run of it to compare with; nothing else can have been meant.
    """
    source = flatgraph.parsed(data, name)
    tensors = [tensor for subgraph in source.subgraphs or () for tensor in subgraph.tensors or ()]
    wrong = [
        tensor.quantization
        for tensor in tensors
        if tensor.quantization is not None
        and tensor.quantization.quantizedDimension
        and tensor.shape is not None
        and len(tensor.shape) == 1
    ]
    if not wrong:
        return Rewritten(data)
    for quantisation in wrong:
        quantisation.quantizedDimension = 0
    note = f"the scales of {text.counted(len(wrong), 'vector')} are along their only dimension"
    return Rewritten(flatgraph.pack(source), (note,))


def check(graph: flatgraph.Graph, name: str) -> None:
    """ModelError for an input that leaves more than its batch open."""
    for index in graph.inputs:
        signature = graph.source.subgraphs[0].tensors[index].shapeSignature
        if signature is not None and any(extent < 0 for extent in signature[1:]):
            shape = ", ".join("any" if extent < 0 else str(extent) for extent in signature)
            raise errors.ModelError(
                f"{name}: input {graph.tensors[index].name!r} is ({shape}), its size is not fixed; write the "
                ".tflite from a model whose input has a size"
            )


def fix_batch(edited: Edit) -> list[str]:
    """An extent that was open at conversion is stored as 1, beside a mark that it is open; so are, behind an operator
    whose shape is computed, extents that are not 1. All become what one sample gives."""
    marked = {index: one for index, one in enumerate(edited.subgraph.tensors) if one.shapeSignature is not None}
    if not any(extent < 0 for tensor in marked.values() for extent in tensor.shapeSignature):
        for tensor in marked.values():
            tensor.shapeSignature = None
        return []
    with (
        quiet.silenced(),
        Interpreter(flatgraph.pack(edited.source), keeps_intermediates=True, kernels=Kernels.BUILTIN) as opened,
    ):
        (sample,) = verify.random_samples(opened.inputs, 1)
        opened.run(*sample)
        for operator in edited.graph.operators:
            for index in operator.outputs:  # of some the file says nothing, not even that they are open
                if edited.graph.tensors[index].spec:
                    edited.subgraph.tensors[index].shape = list(opened.tensor(index).shape)
    for tensor in marked.values():
        tensor.shapeSignature = None
    return ["the batch, which was open, is 1"]


def fold_constants(edited: Edit) -> list[str]:
    """Shapes computed from static shapes become constants."""
    graph = edited.graph
    known = {tensor.index for tensor in graph.tensors if tensor.is_constant and not tensor.is_variable}
    folded: set[int] = set()
    shapes: set[int] = set()
    for operator in graph.operators:
        inputs = {index for index in operator.inputs if index >= 0}
        types = {edited.subgraph.tensors[index].type for index in operator.outputs}
        if operator.name == "SHAPE":
            shapes.add(operator.index)
        if (operator.name == "SHAPE" or (inputs and inputs <= known)) and types <= _WHOLE_NUMBERS:
            known.update(operator.outputs)
            folded.add(operator.index)
    kept = [operator for operator in graph.operators if operator.index not in folded]
    made = {index for place in folded for index in graph.operators[place].outputs}
    needed = sorted(made.intersection(index for operator in kept for index in operator.inputs))
    if not folded or made.intersection(graph.outputs):
        return []
    for place in shapes:  # of tensors that may be computed; their shapes are static by now
        _fill_shape(edited, graph.operators[place])
    _leave_out(edited, shapes)
    shown = {index for place in shapes for index in graph.operators[place].outputs}
    computed = sorted(set(needed) - shown)
    for index, value in zip(computed, _values(edited, made - shown, computed), strict=True):
        edited.fill(index, value)
    _leave_out(edited, folded)
    return [f"{text.counted(len(folded), 'operator')} on constants alone became constants"]


def widen_weights(edited: Edit) -> list[str]:
    """Weights that an operator makes float32 of, each time, from float16 or int8, are kept in float32."""
    graph = edited.graph
    found = {
        operator.index: operator
        for operator in graph.operators
        if operator.name == "DEQUANTIZE" and graph.tensors[operator.inputs[0]].is_constant
    }
    for operator in found.values():
        edited.fill(operator.outputs[0], flatgraph.real_constant(graph, operator.inputs[0]))
    _leave_out(edited, found.keys())
    return [f"weights of {text.counted(len(found), 'tensor')} became float32"] if found else []


PASSES = (fix_batch, fold_constants, widen_weights)


def _leave_out(edited: Edit, operators: Collection[int]) -> None:
    """By their index in the graph; passes before may have left out others."""
    gone = {index for place in operators for index in edited.graph.operators[place].outputs}
    edited.subgraph.operators = [one for one in edited.subgraph.operators if not gone.intersection(one.outputs)]


def _fill_shape(edited: Edit, operator: flatgraph.Operator) -> None:
    dtype = edited.graph.tensors[operator.outputs[0]].type_name
    shape = edited.subgraph.tensors[operator.inputs[0]].shape
    edited.fill(operator.outputs[0], np.asarray(shape, dtype))


def _values(edited: Edit, made: Collection[int], wanted: list[int]) -> tuple[Array, ...]:
    """What the operators that make these tensors give for any sample: they run as a model of their own."""
    graph = flatgraph.read(flatgraph.pack(edited.source))
    operators = [operator.index for operator in graph.operators if set(operator.outputs) <= set(made)]
    part = flatgraph.select(graph, operators, graph.inputs, wanted)
    with quiet.silenced(), Interpreter(part) as opened:
        (sample,) = verify.random_samples(opened.inputs, 1)
        return opened.run(*sample)
