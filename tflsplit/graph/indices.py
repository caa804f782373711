"""Inputs that are indices into a table of the model: words of a vocabulary, categories."""

from tflsplit.graph import flatgraph
from tflsplit.graph.flatgraph import Graph, Operator

_WHOLE = frozenset({"int32", "int64", "uint32", "uint64"})
# Where an operator takes a table, and where the indices into it.
_LOOKUPS = {"GATHER": (0, 1), "EMBEDDING_LOOKUP": (1, 0)}


def table_sizes(graph: Graph) -> tuple[int | None, ...]:
    """For each input of the model, how many rows the smallest table has that it is an index into; None for others."""
    return tuple(_size(graph, index) for index in graph.inputs)


def _size(graph: Graph, start: int) -> int | None:
    if graph.tensors[start].type_name not in _WHOLE:
        return None
    derived, sizes = {start}, []
    for operator in graph.operators:  # each after those that it depends on
        if not derived.intersection(operator.inputs):
            continue
        size = _rows(graph, operator, derived)
        if size is not None:
            sizes.append(size)
        else:  # a sum or a choice of indices is one; Keras lets negative ones count from the end
            derived.update(index for index in operator.outputs if graph.tensors[index].type_name in _WHOLE)
    return min(sizes, default=None)


def _rows(graph: Graph, operator: Operator, derived: set[int]) -> int | None:
    places = _LOOKUPS.get(operator.name)
    if places is None or operator.inputs[places[1]] not in derived:
        return None
    axis = getattr(flatgraph.options(graph, operator), "axis", 0) if operator.name == "GATHER" else 0
    return graph.tensors[operator.inputs[places[0]]].shape[axis]
