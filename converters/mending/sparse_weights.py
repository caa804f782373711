"""Sparse weights, as pruning for size leaves them, written out: XNNPACK cannot open dense layers on them, and nothing
here cuts or quantises them. The results are the same, proven by running the file before and after.

The layout is that of TensorFlow Lite's `SparsityParameters`: levels in `traversalOrder`, each either dense or a list of
the indices that hold something, the last levels being the rows and columns of blocks.
"""

import math
from typing import Any

import numpy as np

from converters.loading import quiet
from converters.rewriting import Rewritten
from tflsplit import errors, text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import DTYPE_OF_CODE, Array
from tflsplit.package import verify

_PROOFS = 4
_FLOAT_SHARE = 1e-4  # of the largest value: sums in another order


def written_out(data: bytes, name: str) -> Rewritten:
    """The model with dense weights alone; unchanged where it has no sparse ones. ModelError if results would change."""
    graph = flatgraph.read(data, name=name)
    edited = Edit(graph)
    sparse = [index for index, tensor in enumerate(edited.subgraph.tensors) if tensor.sparsity is not None]
    if not sparse:
        return Rewritten(data)
    for index in sparse:
        edited.fill(index, _dense(graph, index, name))
        edited.subgraph.tensors[index].sparsity = None
    unpacked = [operator for operator in graph.operators if operator.name == "DENSIFY"]
    for operator in unpacked:
        edited.subgraph.tensors[operator.outputs[0]].buffer = edited.subgraph.tensors[operator.inputs[0]].buffer
    gone = {operator.index for operator in unpacked}
    edited.subgraph.operators = [part for at, part in enumerate(edited.subgraph.operators) if at not in gone]
    changed = flatgraph.pack(edited.source)
    if not _is_equal(data, changed):
        raise errors.ModelError(f"{name}: its sparse weights cannot be written out; export it without sparsity")
    return Rewritten(changed, (f"sparse weights of {text.counted(len(sparse), 'tensor')} were written out",))


def _dense(graph: flatgraph.Graph, index: int, name: str) -> Array:
    tensor = graph.source.subgraphs[0].tensors[index]
    shape, dtype = graph.tensors[index].shape, DTYPE_OF_CODE.get(tensor.type)
    if dtype is None:
        raise errors.ModelError(
            f"{name}: its sparse weights {graph.tensors[index].name!r} are of a type that is not read"
        )
    try:
        values = np.frombuffer(bytes(graph.source.buffers[tensor.buffer].data), dtype)
        places, positions = _places(tensor.sparsity, shape)
        made = np.zeros(shape, dtype)
        made[places] = values[positions]
    except (IndexError, ValueError, TypeError, AttributeError) as cause:
        raise errors.ModelError(
            f"{name}: its sparse weights {graph.tensors[index].name!r} are damaged ({cause}); write the file again"
        ) from cause
    return made


def _places(sparsity: Any, shape: tuple[int, ...]) -> tuple[tuple[Array, ...], Array]:
    """Where each value stands in the tensor, an index array an axis, and which of the stored values it is."""
    order = [int(level) for level in sparsity.traversalOrder]
    block_map = [] if sparsity.blockMap is None else [int(axis) for axis in sparsity.blockMap]
    if sorted(order) != list(range(len(shape) + len(block_map))):
        raise ValueError(f"levels {order} for {len(shape)} dimensions and {len(block_map)} of blocks")
    most = math.prod(shape)
    positions, coordinates = np.zeros(1, np.int64), np.zeros((0, 1), np.int64)
    for level in sparsity.dimMetadata:
        if level.format == flatgraph.schema().DimensionType.DENSE:
            counts = np.full(len(positions), int(level.denseSize), np.int64)
            if level.denseSize < 1 or len(positions) * level.denseSize > most:
                raise ValueError(f"a level of {level.denseSize}")
            inner = np.tile(np.arange(level.denseSize), len(positions))
            new = np.repeat(positions, counts) * level.denseSize + inner
        else:
            segments = np.asarray(level.arraySegments.values, np.int64)
            indices = np.asarray(level.arrayIndices.values, np.int64)
            counts = segments[positions + 1] - segments[positions]
            if counts.min(initial=0) < 0 or counts.sum() > most:
                raise ValueError("levels that end before they begin")
            starts = np.repeat(segments[positions] - np.cumsum(counts) + counts, counts)
            new = starts + np.arange(counts.sum())
            inner = indices[new]
        coordinates = np.vstack([np.repeat(coordinates, counts, axis=1), inner])
        positions = new
    places = np.zeros((len(shape), len(positions)), np.int64)
    for level_axis, coordinate in zip(order, coordinates, strict=True):
        if level_axis < len(shape):
            places[level_axis] = coordinate
        else:
            size = int(sparsity.dimMetadata[order.index(level_axis)].denseSize)
            axis = block_map[level_axis - len(shape)]
            places[axis] = places[axis] * size + coordinate
    if places.min(initial=0) < 0:
        raise ValueError("an index below 0")
    return tuple(places), positions


def _is_equal(before: bytes, after: bytes) -> bool:
    """By the runtime's own kernels, which open sparse weights."""
    with (
        quiet.silenced(),
        Interpreter(before, kernels=Kernels.BUILTIN) as old,
        Interpreter(after, kernels=Kernels.BUILTIN) as new,
    ):
        for sample in verify.random_samples(new.inputs, _PROOFS):
            for expected, found in zip(old.run(*sample), new.run(*sample), strict=True):
                near = _FLOAT_SHARE * np.abs(expected).max(initial=0) if expected.dtype.kind == "f" else 0
                if not np.allclose(expected, found, rtol=0, atol=near):
                    return False
    return True
