"""Scales of tensors that were zero in every calibration sample, raised to ones that every kernel takes.

TensorFlow's converter gives such a tensor the range 0 to 2e-6 and so a scale of 7.8e-9, which XNNPACK refuses beside
one of usual size: the model would not run at all. (NASNet and pruned networks have such branches.) All its values are
the zero point, whatever the scale.
"""

import copy
from collections.abc import Sequence

import numpy as np

from converters.loading import quiet
from converters.loading.model import stored_samples
from converters.rewriting import Rewritten
from tflsplit import errors, text
from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.interpreter import Interpreter, Kernels
from tflsplit.graph.tensors import Array

_LEAST = 2e-6 / 255 * 1.001
_RAISED = 1 / 256  # as a tensor of values up to 1 has
_PROOFS = 8
# Their bias is stored in steps of the input's scale times the weights'.
_BIASED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


def raised(data: bytes, samples: Sequence[Array]) -> Rewritten:
    """The model with usual scales in place of the least, if it runs only with them, and if its results on `samples`
    (real values) stay bit for bit."""
    graph = flatgraph.read(data)
    made = {index for operator in graph.operators for index in operator.outputs}
    least = [index for index in sorted(made) if graph.tensors[index].type_name == "int8" and _is_least(graph, index)]
    if not least or _runs(data):
        return Rewritten(data)
    edited = Edit(graph)
    for index in least:
        _set_scale(edited, index, np.full(1, _RAISED, np.float32))
    for operator in graph.operators:
        if operator.name in _BIASED and operator.inputs[0] in least and len(operator.inputs) > 2:
            _follow(edited, operator.inputs[1], operator.inputs[2])
    note = f"{text.counted(len(least), 'tensor')}, zero in all samples, got a scale of {_RAISED:.2g} instead of 7.8e-09"
    changed = flatgraph.pack(edited.source)
    if not _runs(changed) or not _is_equal(data, changed, samples):
        return Rewritten(data, (f"left as it was, it would not run or its results would change: {note}",))
    return Rewritten(changed, (f"{note}; bit-exact on {text.counted(min(_PROOFS, len(samples[0])), 'sample')}",))


def _is_least(graph: flatgraph.Graph, index: int) -> bool:
    quantisation = graph.source.subgraphs[0].tensors[index].quantization
    scales = [] if quantisation is None or quantisation.scale is None else list(quantisation.scale)
    return len(scales) == 1 and 0 < scales[0] <= _LEAST


def _set_scale(edited: Edit, index: int, scale: Array) -> None:
    tensor = edited.subgraph.tensors[index]
    tensor.quantization = copy.copy(tensor.quantization)  # that of the graph stays as it was
    tensor.quantization.scale = scale


def _follow(edited: Edit, weights: int, bias: int) -> None:
    """The same real bias, in steps of the raised scale."""
    held = flatgraph.constant(edited.graph, bias) if bias >= 0 else None
    tensors = edited.graph.source.subgraphs[0].tensors
    if held is None or tensors[bias].quantization is None:
        return
    old = np.asarray(tensors[bias].quantization.scale, np.float64)
    new = np.asarray(tensors[weights].quantization.scale, np.float64) * _RAISED
    limits = np.iinfo(held.dtype)
    edited.fill(bias, np.clip(np.round(held * (old / new)), limits.min, limits.max).astype(held.dtype))
    _set_scale(edited, bias, new.astype(np.float32))


def _runs(data: bytes) -> bool:
    try:
        with quiet.silenced(), Interpreter(data):
            return True
    except errors.DeviceError:
        return False


def _is_equal(before: bytes, after: bytes, samples: Sequence[Array]) -> bool:
    """With the runtime's own kernels: XNNPACK refuses the model as it was."""
    try:
        with (
            quiet.silenced(),
            Interpreter(before, kernels=Kernels.BUILTIN) as old,
            Interpreter(after, kernels=Kernels.BUILTIN) as new,
        ):
            rows = stored_samples([array[:_PROOFS] for array in samples], new.inputs)
            pairs = [pair for row in rows for pair in zip(old.run(*row), new.run(*row), strict=True)]
    except errors.DeviceError:
        return False
    return all(np.array_equal(*pair) for pair in pairs)
