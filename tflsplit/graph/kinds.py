"""What decides which kernel runs an operator: its name and the types it computes with, as `CONV_2D/int8`."""

from collections.abc import Sequence

from tflsplit.graph import ties
from tflsplit.graph.flatgraph import Graph

# Shapes, axes and places come as whole numbers and conditions as bool, beside the tensor that an operator is about.
_BESIDE = frozenset({"int32", "int64", "bool", ""})


def kind(name: str, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """Types as numpy names them. `QUANTIZE/int8>uint8` where what goes in and what comes out differ; else one type."""
    source = next((dtype for dtype in inputs if dtype not in _BESIDE), inputs[0] if inputs else "")
    made = outputs[0] if outputs else source
    return f"{name}/{source}" if source == made else f"{name}/{source}>{made}"


def each(graph: Graph) -> tuple[str, ...]:
    """The kind of every operator, in order. A MUL or MEAN of integers with results that lie between two integers is
    `MUL/int8:ties`, apart from those that any way of rounding gives the same."""
    found = []
    for operator in graph.operators:
        inputs, outputs = (
            [graph.tensors[index].type_name for index in indices if index >= 0]
            for indices in (operator.inputs, operator.outputs)
        )
        named = kind(operator.name, inputs, outputs)
        found.append(f"{named}:ties" if ties.has_ties(graph, operator) else named)
    return tuple(found)


def of_graph(graph: Graph) -> tuple[str, ...]:
    """The kinds that a graph has, each once, sorted."""
    return tuple(sorted(set(each(graph))))
