"""What decides which kernel runs an operator: its name and the types it computes with, as `CONV_2D/int8`."""

from collections.abc import Iterable, Sequence

from tflsplit.graph.flatgraph import Graph

# Shapes, axes and places come as whole numbers and conditions as bool, beside the tensor that an operator is about.
_BESIDE = frozenset({"int32", "int64", "bool", ""})


def kind(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """Types as numpy names them. `QUANTIZE/int8>uint8` where what goes in and what comes out differ; else one type."""
    source = next((dtype for dtype in inputs if dtype not in _BESIDE), inputs[0] if inputs else "")
    made = outputs[0] if outputs else source
    return f"{name}/{source}" if source == made else f"{name}/{source}>{made}"


def of_graph(graph: Graph, indices: Iterable[int] | None = None) -> tuple[str, ...]:
    """The kinds of these operators (all by default), each once, sorted."""
    chosen = range(len(graph.operators)) if indices is None else indices
    found = set()
    for operator in (graph.operators[index] for index in chosen):
        inputs, outputs = (
            [graph.tensors[index].type_name for index in indices if index >= 0]
            for indices in (operator.inputs, operator.outputs)
        )
        found.add(kind(operator.name, inputs, outputs))
    return tuple(sorted(found))
