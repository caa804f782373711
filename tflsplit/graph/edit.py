"""Changes to a parsed `.tflite` file: new tensors, constants and operators, in a copy of its own."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph
from tflsplit.graph.tensors import CODE_OF_DTYPE, Array


class Edit:
    """A copy of a graph's file that can be changed; `graph` stays as it was, and `flatgraph.pack` writes `source`."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.schema = flatgraph.schema()
        self.source = copy.copy(graph.source)
        self.source.buffers = list(self.source.buffers)
        self.source.operatorCodes = list(self.source.operatorCodes)
        self.subgraph = copy.copy(graph.source.subgraphs[0])
        self.subgraph.tensors = [copy.copy(tensor) for tensor in self.subgraph.tensors]
        self.subgraph.operators = [copy.copy(operator) for operator in self.subgraph.operators or []]
        self.source.subgraphs = [self.subgraph, *self.source.subgraphs[1:]]

    def tensor(self, name: str, shape: Sequence[int], kind: int, *, quantisation: Any = None, buffer: int = 0) -> int:
        """A new tensor, by its index; `kind` is one of the schema's TensorType."""
        made = self.schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), kind
        made.quantization, made.buffer = quantisation, buffer
        return self._added(made)

    def tensor_like(self, like: int, name: str, shape: Sequence[int]) -> int:
        """A tensor like another one, quantisation and data included, under a name and shape of its own."""
        made = copy.copy(self.subgraph.tensors[like])
        made.name, made.shape, made.shapeSignature = name.encode(), list(shape), None
        return self._added(made)

    def constant(self, name: str, array: Array, quantisation: Any = None) -> int:
        """A new constant of the array's type."""
        kind = CODE_OF_DTYPE[array.dtype.name]
        return self.tensor(name, array.shape, kind, quantisation=quantisation, buffer=self.buffer(array))

    def fill(self, index: int, array: Array) -> None:
        """Makes a tensor that there is a constant of the array's shape and type."""
        tensor = self.subgraph.tensors[index]
        tensor.shape, tensor.type, tensor.buffer = (
            list(array.shape),
            CODE_OF_DTYPE[array.dtype.name],
            self.buffer(array),
        )

    def buffer(self, array: Array) -> int:
        """The place of a new buffer with the array's bytes."""
        made = self.schema.BufferT()
        made.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self.source.buffers.append(made)
        return len(self.source.buffers) - 1

    def operator(self, name: str, version: int, inputs: Sequence[int], output: int, options: Any = None) -> Any:
        """A new operator, not yet among the others."""
        code, made = self.schema.OperatorCodeT(), self.schema.OperatorT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = code.builtinCode, version
        self.source.operatorCodes.append(code)
        made.opcodeIndex, made.inputs, made.outputs = len(self.source.operatorCodes) - 1, list(inputs), [output]
        if options is not None:
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            made.builtinOptions = options
        return made

    def _added(self, tensor: Any) -> int:
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1
