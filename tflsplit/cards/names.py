"""Names of a model's inputs and outputs, by which LiteRT runs it: `get_signature_runner()(picture=…)["scores"]`."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tflsplit.graph import flatgraph
from tflsplit.graph.cuts import Cut
from tflsplit.graph.flatgraph import Graph

_PREFIX = f"{flatgraph.SIGNATURE}_"
# Converters join the names of what they fuse; a name that nobody can type is no name.
_LONGEST = 64


class Names(NamedTuple):
    """One for each tensor, in their order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def of_graph(graph: Graph) -> Names:
    """Those of the file's own signature; without one that names all of its tensors, names made of theirs."""
    inputs, outputs = ({index: graph.tensors[index].name for index in ends} for ends in (graph.inputs, graph.outputs))
    for signature in graph.source.signatureDefs or []:
        told = _told(signature.inputs), _told(signature.outputs)
        if signature.subgraphIndex == 0 and (set(told[0]), set(told[1])) == (set(inputs), set(outputs)):
            inputs, outputs = told
            break
    return Names(
        distinct([inputs[index] for index in graph.inputs]), distinct([outputs[index] for index in graph.outputs])
    )


def _told(entries: Any) -> dict[int, str]:
    return {int(entry.tensorIndex): (entry.name or b"").decode("utf-8", "replace") for entry in entries or []}


def of_boundary(cut: Cut) -> tuple[str, ...]:
    """The same for the head's outputs as for the tail's inputs: a single tensor has the name of its layer."""
    return distinct([cut.layer] if cut.layer and len(cut.boundary) == 1 else [spec.name for spec in cut.boundary])


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Each short and once; what is too long, or there already, is named by its place."""
    found: list[str] = []
    for place, name in enumerate(names):
        bare = name.split(";")[0].removeprefix(_PREFIX).removesuffix(":0")
        found.append(bare if bare and len(bare) <= _LONGEST and bare not in found else f"tensor_{place}")
    return tuple(found)
