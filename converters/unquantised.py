"""A float `.tflite` as a loaded model: what LiteRT's exporters of PyTorch, ONNX and JAX write, and TensorFlow's own.

Weights kept in float16, or in int8 beside float activations (dynamic range), become float32: that is the model that was
trained, as near as the file knows it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.loading import quiet
from converters.loading.inputs import Input
from converters.loading.model import LoadedModel, joined, samples_of
from converters.loading.tracing import Tap
from tflsplit.graph import flatgraph, indices
from tflsplit.graph.edit import Edit
from tflsplit.graph.flatgraph import Graph, Operator
from tflsplit.graph.interpreter import Interpreter
from tflsplit.graph.tensors import Array
from tflsplit.values.classes import dataclass

FLOATS = frozenset({"float16", "float32", "float64", "bfloat16"})
# Operators with weights: what their activations are is what the model is.
WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "CONV_3D", "BATCH_MATMUL"})


@dataclass(frozen=True, eq=False)
class FloatFile(LoadedModel):
    """`data` is the file with float32 weights; there is no graph of TensorFlow behind it, and no layers but tensors."""

    data: bytes = b""

    @property
    def layers(self) -> tuple[Tap, ...]:
        return ()

    @property
    def table_sizes(self) -> Mapping[str, int]:
        sizes = indices.table_sizes(flatgraph.read(self.data))
        return {entry.name: size for entry, size in zip(self.inputs, sizes, strict=True) if size}

    def predict(self, arrays: Sequence[Array]) -> tuple[Array, ...]:
        """Float outputs for samples: one array (samples, …) for each input, in order, in real values."""
        with quiet.silenced(), Interpreter(self.data, threads=2) as opened:
            shaped = [
                [array.reshape(spec.shape).astype(spec.dtype) for array, spec in zip(row, opened.inputs, strict=True)]
                for row in samples_of(arrays)
            ]
            return joined([opened.run(*row) for row in shaped])


def is_float(graph: Graph) -> bool:
    """Whether its weighted operators, or all where none has weights, compute in float."""
    weighted = [operator for operator in graph.operators if operator.name in WEIGHTED] or list(graph.operators)
    return any(_computes_in_float(graph, operator) for operator in weighted)


def load(path: Path, data: bytes) -> FloatFile:
    """`data` has static shapes. ModelError for weights in types that cannot be read."""
    graph = flatgraph.read(data, name=str(path))
    edited = Edit(graph)
    for tensor in graph.tensors:
        if tensor.is_constant and tensor.scale_count and tensor.type_name not in FLOATS | {"int32"}:
            edited.fill(tensor.index, flatgraph.real_constant(graph, tensor.index, name=str(path)))
            edited.subgraph.tensors[tensor.index].quantization = None
    specs = graph.specs(graph.inputs)
    return FloatFile(
        path=path,
        format="tflite",
        loader="tflsplit",
        inputs=tuple(Input(spec.name, spec.shape, spec.dtype) for spec in specs),
        output_names=tuple(graph.tensors[index].name for index in graph.outputs),
        call=_no_call,
        data=flatgraph.pack(edited.source),
    )


def _computes_in_float(graph: Graph, operator: Operator) -> bool:
    return any(graph.tensors[index].type_name in FLOATS for index in operator.outputs) and operator.name != "DEQUANTIZE"


def _no_call(*tensors: object) -> None:
    raise NotImplementedError("a .tflite has no function of TensorFlow")
