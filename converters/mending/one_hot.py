"""The two values of a ONE_HOT, stored in the scale of its result: TensorFlow's converter gives each one of its own.

The kernel copies what is stored. An off value of 0 is stored as 0 in its own scale, which is 0.5 in that of a result of
0 and 1.
"""

import numpy as np

from tflsplit.graph import flatgraph
from tflsplit.graph.edit import Edit
from tflsplit.graph.tensors import quantise


def in_one_scale(data: bytes) -> bytes:
    """The model with both values in the scale of the result; itself where there is no such operator."""
    graph = flatgraph.read(data)
    found = [one for one in graph.operators if one.name == "ONE_HOT" and graph.tensors[one.outputs[0]].spec is not None]
    edited = Edit(graph)
    for operator in found:
        spec = graph.tensors[operator.outputs[0]].spec
        for place in (2, 3):  # after indices and depth
            held = operator.inputs[place]
            if spec is None or not spec.is_quantised or not graph.tensors[held].is_constant:
                continue
            stored = quantise(np.asarray(flatgraph.real_constant(graph, held), np.float32), spec)
            value = edited.constant(
                f"{graph.tensors[held].name}/{operator.index}",
                stored.reshape(graph.tensors[held].shape),
                edited.subgraph.tensors[operator.outputs[0]].quantization,
            )
            edited.subgraph.operators[operator.index].inputs = [
                value if at == place else index
                for at, index in enumerate(edited.subgraph.operators[operator.index].inputs)
            ]
    return flatgraph.pack(edited.source) if found else data
